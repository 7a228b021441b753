"""Everything written, read back or sent: typed records, their wire form, and where each file stands on disk."""
