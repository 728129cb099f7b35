"""Annotated images for training: pairs, label maps, preprocessing, augmentation, splits."""
