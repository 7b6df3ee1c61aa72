"""From a source to the tokens of a training run: read, recognise, render, split, check, mix.

Nothing here loads torch; tokenizers come in as arguments.
"""
