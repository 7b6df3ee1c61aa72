"""Teach a language model phase after phase, measure what was forgotten, and prevent it."""
