"""What a run measured, turned into tables, a page and a verdict."""
