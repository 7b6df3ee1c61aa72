"""Doors through which other tools' users reach what is measured here."""
