"""Update rules, one per file; a new file here registers a new rule (CONTRIBUTING.md)."""
