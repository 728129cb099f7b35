"""Files without a UID of their series, as some anonymisation leaves them, and what a series is called."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from tests.helpers.dicom_folders import volume

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicom import reader
from napari_latentseg.io.dicom.source import find_source
from napari_latentseg.io.image_header import ImageHeader
from napari_latentseg.widgets.opening.layer_data import survey_path


@pytest.mark.parametrize("empty", ["", None])
def test_a_stack_without_a_uid_is_one_series(made, tmp_path, empty):
    volume(made, tmp_path / "named")
    volume(made, tmp_path / "unnamed", SeriesInstanceUID=empty)
    named = reader.read(tmp_path / "named")
    infos = reader.list_series(tmp_path / "unnamed")
    assert [(info.count, info.problem) for info in infos] == [(4, "")]
    unnamed = reader.read(tmp_path / "unnamed")
    np.testing.assert_array_equal(unnamed.array, named.array)
    assert unnamed.geometry == named.geometry
    assert any("no UID of their series" in note for note in unnamed.notes)
    shutil.move(tmp_path / "unnamed", tmp_path / "moved")
    assert reader.list_series(tmp_path / "moved")[0].uid == infos[0].uid


def test_two_stacks_without_a_uid_are_two_series(made, tmp_path):
    for number in (1, 2):
        volume(made, tmp_path, SeriesInstanceUID="", SeriesNumber=number)
        for file in sorted(tmp_path.glob("00*.dcm")):
            file.rename(tmp_path / f"{number}-{file.name}")
    assert [info.count for info in reader.list_series(tmp_path)] == [4, 4]


def test_what_is_no_complete_stack_is_never_taken_for_one(made, tmp_path):
    """Two patients on one grid: without names nothing but the pixels tells them apart."""
    for name, clock in (("first", "101000"), ("second", "102000")):
        volume(made, tmp_path, SeriesInstanceUID="", AcquisitionTime=clock)
        for file in sorted(tmp_path.glob("00*.dcm")):
            file.rename(tmp_path / f"{name}-{file.name}")
    assert [info.shape for info in reader.list_series(tmp_path)] == [(1, 5, 6)] * 8


def test_folders_and_gaps_keep_them_apart(made, tmp_path):
    for folder in ("a", "b"):
        volume(made, tmp_path / folder, SeriesInstanceUID="")
    assert [info.count for info in reader.list_series(tmp_path)] == [4, 4]
    (tmp_path / "a" / "001.dcm").unlink()
    assert sorted(info.count for info in reader.list_series(tmp_path)) == [1, 1, 1, 4]


def test_dicom_seg_needs_the_uid_that_is_missing(made, tmp_path):
    scan = reader.read(volume(made, tmp_path, SeriesInstanceUID=""))
    with pytest.raises(BadInput, match="names no frame of reference, study or series"):
        find_source(ImageHeader.of(scan))


@pytest.mark.parametrize(
    ("description", "title"),
    [
        ("FLAIR_reg", "FLAIR_reg"),
        ("  T1   post ", "T1 post"),
        ("knee of Doe", ""),
        ("JANE t2", ""),
        ("t2_doe_sag", ""),
        ("T2 4711-secret", ""),
        ("T2 of doej", "T2 of doej"),  # a word that only begins like a short name
        ("", ""),
    ],
)
def test_a_layer_is_named_by_the_series_and_never_by_the_patient(made, tmp_path, description, title):
    folder = volume(made, tmp_path / "dicom", SeriesDescription=description)
    assert reader.list_series(folder)[0].title == title
    assert survey_path(folder).layer_name(None) == (title or "dicom")
    assert survey_path(folder / "001.dcm").layer_name(None) == "001"  # chosen by its own name
