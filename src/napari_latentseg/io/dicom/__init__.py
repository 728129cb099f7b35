"""DICOM: series, geometry, pixels, segmentations."""
