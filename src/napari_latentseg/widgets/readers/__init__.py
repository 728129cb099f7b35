"""The window that compares the masks of several readers, and a model's samples beside them."""
