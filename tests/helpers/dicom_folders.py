"""Folders of DICOM files for tests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace


def volume(made: SimpleNamespace, folder: Path, count: int = 4, **changes: object) -> Path:
    return made.series(folder, made.ramp(count, 5, 6), made.positions(count), **changes)


def a_report(made, folder):
    kind = "1.2.840.10008.5.1.4.1.1.88.11"
    ds = made.dataset(made.ramp(2, 2), Modality="SR", SOPClassUID=kind, Rows=None, Columns=None)
    del ds.PixelData
    made.save(ds, folder / "a.dcm")


def two_series(made, folder):
    volume(made, folder / "a")
    volume(made, folder / "b", SeriesInstanceUID="1.2.9", SeriesNumber=7)


def without_a_slice(made, folder):
    volume(made, folder, 6)
    (folder / "002.dcm").unlink()
