"""What scoring and writing share: the tree of prefixes, and live sequences."""
