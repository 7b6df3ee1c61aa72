"""Pure functions of numpy arrays: what was learnt, what was forgotten, and how sure one can be."""
