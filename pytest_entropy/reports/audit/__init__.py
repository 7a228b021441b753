"""A second, plain reading of what a session wrote: every reported number against the runs' own ``results.json``.

It imports nothing of this package but the names of files, so that no fault is in both readings.
"""
