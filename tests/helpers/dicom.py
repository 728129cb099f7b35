"""DICOM series for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

NAME = "Doe^Jane"


SECRET = "4711-secret"


STUDY = generate_uid()


def dataset(array: np.ndarray, **changes: Any) -> pydicom.Dataset:
    """One slice, or frames; what is given as None is left out."""
    colours = array.ndim > 2 and array.shape[-1] == 3
    fields: dict[str, Any] = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": "1.2.3",
        "FrameOfReferenceUID": "1.2.4",
        "PatientName": NAME,
        "PatientID": SECRET,
        "PatientBirthDate": "19330303",
        "PatientSex": "F",
        "StudyDate": "20200202",
        "StudyTime": "101010",
        "StudyID": SECRET[:4],
        "AccessionNumber": SECRET,
        "ReferringPhysicianName": "House^Gregory",
        "InstitutionName": SECRET,
        "SeriesDescription": f"knee of {NAME}",
        "Manufacturer": "none",
        "Modality": "MR",
        "SeriesNumber": 3,
        "InstanceNumber": 1,
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "Rows": array.shape[-3 if colours else -2],
        "Columns": array.shape[-2 if colours else -1],
        "SamplesPerPixel": 3 if colours else 1,
        "PhotometricInterpretation": "RGB" if colours else "MONOCHROME2",
        "BitsAllocated": array.dtype.itemsize * 8,
        "BitsStored": array.dtype.itemsize * 8,
        "HighBit": array.dtype.itemsize * 8 - 1,
        "PixelRepresentation": int(array.dtype.kind == "i"),
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1, 1],
        "SliceThickness": 1,
    }
    if colours:
        fields["PlanarConfiguration"] = 0
    ds = pydicom.Dataset()
    for keyword, value in (fields | changes).items():
        if value is not None:
            setattr(ds, keyword, value)
    ds.PixelData = array.tobytes() + b"\0" * (array.nbytes % 2)
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def save(ds: pydicom.Dataset, path: Path) -> Path:
    """Write a file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def positions(
    count: int, step: np.ndarray | tuple[float, ...] = (0, 0, 2), first: tuple[float, ...] = (0, 0, 0)
) -> list[list[float]]:
    """Where slices lie that are a step apart."""
    return [[float(f"{v:.10g}") for v in np.array(first) + k * np.array(step)] for k in range(count)]


def series(
    folder: Path, volume: np.ndarray, where: list[list[float]], order: Any = None, **changes: Any
) -> Path:
    """Write a slice a file, in the order of `order` by name and number, so that sorting is needed."""
    for number, k in enumerate(range(len(volume)) if order is None else order):
        one = {"InstanceNumber": number + 1, "ImagePositionPatient": where[k]} | changes
        save(dataset(volume[k], **one), folder / f"{number:03d}.dcm")
    return folder
