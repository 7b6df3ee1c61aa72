"""Tests of the embedded packages."""
