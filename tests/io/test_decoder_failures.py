"""Decoders that panic, and zips with names that Python's own module cannot take."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from tests.helpers.dicom import dataset, save

from napari_latentseg import BadInput
from napari_latentseg.io.registry import list_series, read_scan


def test_a_panic_of_a_decoder_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyo3 raises it where Rust panics, and it is no `Exception`."""

    class PanicException(BaseException):
        pass

    def panic(*args: object, **options: object) -> None:
        raise PanicException("index out of bounds")

    path = save(dataset(np.zeros((8, 8), np.uint8)), tmp_path / "a.dcm")
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.as_array", panic)
    with pytest.raises(BadInput, match=r"a\.dcm"):
        read_scan(path)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_wish_to_end_the_program_is_not_taken_for_damage(
    kind: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object, **options: object) -> None:
        raise kind

    path = save(dataset(np.zeros((8, 8), np.uint8)), tmp_path / "a.dcm")
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.as_array", stop)
    with pytest.raises(kind):
        read_scan(path)


def test_rle_of_more_rows_than_the_header_says_is_refused(tmp_path: Path) -> None:
    """The decoder panics: it writes the second byte of each pixel behind the end of the first bytes."""
    ds = dataset(np.arange(4096).reshape(64, 64).astype(np.uint16))
    ds.compress(pydicom.uid.RLELossless)
    ds.Rows = 7
    with pytest.raises(BadInput, match="damaged"):
        np.asarray(read_scan(save(ds, tmp_path / "a.dcm")).array)


def test_a_zip_with_an_entry_without_a_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(""), b"x")
    with pytest.raises(BadInput, match="names that lead out of the zip"):
        list_series(path)
