"""How good a segmentation is, and whether its doubt is what it says."""
