"""DICOMweb: find, retrieve and store series of an archive; retrieved ones are read by `io.dicom`."""
