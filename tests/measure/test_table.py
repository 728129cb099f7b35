from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.made import classes_of, made

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.measure import (
    Measurement,
    check_csv_replaceable,
    measure,
    measurement_table,
    write_csv,
)
from napari_latentseg.measure.measurement import Intensity


def segmentation(*names: str, unit: str = "mm"):
    samples = np.zeros((3, len(names), 4, 10, 10))
    samples[:, 0, 1:3, 2:5, 2:7] = 0.9
    return made(samples, Geometry.from_spacing("zyx", (2.0, 0.5, 0.5), unit), classes=classes_of(*names))


def test_columns_for_a_labels_layer():
    found = segmentation("cyst", "stone")
    columns = measurement_table(measure(found, Scan(found.mask, "zyx", found.geometry)))
    assert columns.columns[0] == "index"
    assert columns["class"].tolist() == ["cyst", "stone", "cyst"]
    assert columns["index"][:2].tolist() == [1, 2]
    assert columns["index"][2] > 255  # no label that a mask holds
    assert columns["volume (mm3)"].tolist() == [15.0, 0.0, 15.0]
    assert columns["volume (ml)"].tolist() == pytest.approx([0.015, 0.0, 0.015])
    assert math.isnan(columns["longest diameter (mm)"][1])
    assert columns["intensity mean"][0] == 1.0
    assert "time" not in columns


def test_a_class_with_parts_names_them(tmp_path: Path):
    found = segmentation("liver", "=tumour")
    classes = (found.classes[0].model_copy(update={"includes": ("=tumour",)}), found.classes[1])
    nested = replace(found, classes=classes)
    assert "includes" not in measurement_table(measure(found))
    # text in all rows: the window sorts by it
    assert measurement_table(measure(nested, objects=False))["includes"].tolist() == ["=tumour", ""]
    write_csv(tmp_path / "a.csv", measure(nested, objects=False))
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert [(row["class"], row["includes"]) for row in csv.DictReader(file)] == [
            ("liver", "'=tumour"), ("'=tumour", ""),
        ]  # fmt: skip


def test_areas_and_pixels_have_their_own_headings():
    assert "area (um2)" in measurement_table(
        measure(made(np.ones((3, 1, 8, 8)), Geometry.from_spacing("yx", (0.5, 0.5), "um"), "yx"))
    )
    columns = measurement_table(measure(made(np.ones((3, 1, 8, 8)), Geometry.from_spacing("yx"), "yx")))
    assert "size (pixel)" in columns
    assert not any("ml" in name for name in columns)


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "-2", "@sum", "\tx", "＝1+1", "＠sum", " =1", "ok"])
def test_a_spreadsheet_takes_no_name_for_a_formula(tmp_path: Path, name: str):
    found = segmentation("cyst")
    rows = [replace(row, name=name) for row in measure(found)]
    write_csv(tmp_path / "a.csv", rows)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        first, *_ = csv.DictReader(file)
    assert first["class"] == (name if name == "ok" else f"'{name}")
    assert float(first["volume (mm3)"]) == 15.0
    assert "index" not in first


def test_a_negative_place_stays_a_number(tmp_path: Path):
    geometry = Geometry.from_matrix(np.array([[1, 0, -50], [0, 1, 0], [0, 0, 1.0]]), ("mm",) * 2, ("y", "x"))
    found = made(np.ones((3, 1, 8, 8)), geometry, "yx")
    write_csv(tmp_path / "a.csv", measure(found))
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        first, *_ = csv.DictReader(file)
    assert float(first["centroid y (mm)"]) == pytest.approx(-46.5)
    assert first["interval"] == "samples"


def test_nothing_is_an_empty_table():
    assert measurement_table([]).empty


def edited(path: Path, before: bytes, after: bytes) -> None:
    content = path.read_bytes()
    assert before in content
    path.write_bytes(content.replace(before, after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"15.0", b"16.0"),  # a size
        (b"\r\n", b",seen by A\r\n"),  # a column
        (b"image", b"Image"),  # a heading
        (b",table\r\n", b"\r\n"),  # as an earlier version wrote it
    ],
)
def test_a_table_that_a_person_changed_is_not_replaced(tmp_path: Path, before: bytes, after: bytes):
    path = tmp_path / "sizes.csv"
    write_csv(path, measure(segmentation("cyst", "stone")), input_sha256="a" * 64)
    check_csv_replaceable(path, "a" * 64)
    with pytest.raises(BadInput, match="not a table of this image"):
        check_csv_replaceable(path, "b" * 64)
    edited(path, before, after)
    with pytest.raises(BadInput, match=r"already exists, and (was changed|is not a table of this image)"):
        check_csv_replaceable(path, "a" * 64)


def test_another_line_ending_is_no_change(tmp_path: Path):
    path = tmp_path / "sizes.csv"
    write_csv(path, measure(segmentation("=cyst, left")), input_sha256="a" * 64)
    edited(path, b"\r\n", b"\n")
    check_csv_replaceable(path, "a" * 64)


@pytest.mark.parametrize("content", [b"", b"\r\n", b"image\r\n", b"image,table\r\nx\r\n", b"\xff\x00\n\n"])
def test_what_is_no_table_is_not_replaced(tmp_path: Path, content: bytes):
    (tmp_path / "sizes.csv").write_bytes(content)
    with pytest.raises(BadInput, match=r"not a table of this image|cannot be read as a table"):
        check_csv_replaceable(tmp_path / "sizes.csv", "a" * 64)


def test_the_whole_file_to_the_byte(tmp_path: Path):
    rows = [
        Measurement("cyst", 1, 0, None, 15.0, "mm3", "mm", 3, 14.5, 1 / 3, 12.0, 1e-7, "samples", 0.9,
                    (1.5, -2.25, 3.0), 4.0, 2.0, intensity=Intensity(1.0, 0.0, 1.0, 2.0)),
        Measurement('say "a, b"', 2, 1, None, 0.0, "mm3", "mm"),
    ]  # fmt: skip
    write_csv(tmp_path / "a.csv", rows)
    assert (tmp_path / "a.csv").read_bytes().decode("utf-8").split("\r\n") == [
        "class,label,object,volume (mm3),volume (ml),mask,mean of samples (mm3),std of samples (mm3),"
        "low 90 % (mm3),high 90 % (mm3),interval,interval note,segmented,samples,mean probability,"
        "centroid z (mm),centroid y (mm),"
        "centroid x (mm),longest diameter (mm),short axis (mm),intensity mean,intensity std,intensity min,"
        "intensity max",
        "cyst,1,0,15.0,0.015,model,14.5,0.3333333333333333,12.0,1e-07,samples,,all,3,0.9,1.5,-2.25,3.0,4.0,2.0,1.0,0.0,1.0,2.0",
        '"say ""a, b""",2,1,0.0,0.0,model,,,,,,,all,0,,,,,,,,,,',
        "",
    ]
