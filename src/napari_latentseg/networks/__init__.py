"""torch modules with the papers' names."""
