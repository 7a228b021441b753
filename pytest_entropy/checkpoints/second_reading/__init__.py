"""A second, plain reading of a checkpoint's files, compared with what the loader made of them.

No module of the loader is imported here: not its search for files, its formats, its layouts, its optimizer kinds, nor
its order of parameters.  The files are read once, when a checkpoint is loaded, a few elements of each tensor; they are
compared with the policy and the optimizer state in use after a run has used them.
"""
