"""Makes DICOM series for the tests: any geometry, any way of storing the values, with a name in them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from tests.helpers.dicom import NAME, SECRET, STUDY, dataset, positions, save, series


def ramp(*shape: int, dtype: Any = np.int16) -> np.ndarray:
    """Values that all differ, as far as they can."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def frames(array: np.ndarray, where: list[list[float]], **changes: Any) -> pydicom.Dataset:
    """One file of many frames, each with a place of its own."""
    groups = []
    for position in where:
        plane, group = pydicom.Dataset(), pydicom.Dataset()
        plane.ImagePositionPatient = position
        group.PlanePositionSequence = [plane]
        groups.append(group)
    orientation, measures, shared = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    orientation.ImageOrientationPatient = changes.pop("ImageOrientationPatient", [1, 0, 0, 0, 1, 0])
    measures.PixelSpacing = changes.pop("PixelSpacing", [1, 1])
    measures.SliceThickness = 1
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    fields = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1",
        "NumberOfFrames": len(array),
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": groups,
        "ImagePositionPatient": None,
        "ImageOrientationPatient": None,
        "PixelSpacing": None,
        "SliceThickness": None,
    }
    return dataset(array, **(fields | changes))


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """The makers of DICOM files, and the names that must not come out of them."""
    return SimpleNamespace(
        dataset=dataset, save=save, series=series, frames=frames, positions=positions, ramp=ramp,
        secrets=(NAME, "Doe", "Jane", SECRET, "19330303", "House", STUDY),
    )  # fmt: skip
