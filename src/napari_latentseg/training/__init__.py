"""Training codecs and methods on folders of images and masks."""
