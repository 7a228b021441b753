"""The sections of ``report.html``, one a file: ``SECTION`` in each (docs/reports.md says how to add one)."""
