"""Models: which one a reference means, loading, saving, precision, layers, packed attention."""
