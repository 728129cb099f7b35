"""The only folder that knows napari and Qt. A widget connects; what it connects lies below."""
