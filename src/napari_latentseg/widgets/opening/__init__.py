"""Opening and saving scans in napari."""
