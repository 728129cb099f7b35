"""Teaching codecs and methods from folders of images and masks."""
