"""The records written to disk or sent between processes: their types, their JSON form, and the names of their files."""
