"""The sections of ``report.html``, one per file with its ``SECTION`` (docs/reports.md says how to add one)."""
