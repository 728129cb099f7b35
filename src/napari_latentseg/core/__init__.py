"""The data model: scans, geometry, classes, records, results; no torch."""
