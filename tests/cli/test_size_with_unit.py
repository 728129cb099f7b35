"""`--structure-size` in pixels and as a length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_latentseg.cli.structure_size import size_in_pixels
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io.convert import write_scan


def volume(folder: Path, spacing: tuple[float, float, float] = (5, 0.5, 0.5), unit: str = "mm") -> Path:
    path = folder / f"volume.{'nii.gz' if unit == 'mm' else 'tif'}"
    scan = Scan(np.zeros((4, 30, 40), np.uint8), "zyx", Geometry.from_spacing("zyx", spacing, unit))
    write_scan(scan, path)
    return path


@pytest.mark.parametrize(
    ("text", "pixels"),
    [("40", 40), ("40.5", 40.5), ("40px", 40), ("40 pixels", 40), ("12mm", 24), ("12 mm", 24), ("1.2cm", 24),
     ("12000um", 24), ("12000µm", 24)],
)  # fmt: skip
def test_a_size_in_pixels_or_with_a_unit(tmp_path: Path, text: str, pixels: float) -> None:
    assert size_in_pixels(text, [volume(tmp_path)]) == pytest.approx(pixels)


def test_a_spacing_that_is_given_counts(tmp_path: Path) -> None:
    path = volume(tmp_path, (1, 1, 1), "pixel")
    assert size_in_pixels("12mm", [path], spacing=[5, 0.2, 0.2]) == pytest.approx(60)


def test_pixels_need_no_file() -> None:
    assert size_in_pixels("40", [Path("missing.png")]) == 40
    assert size_in_pixels(None, []) is None


@pytest.mark.parametrize("text", ["", "mm", "12 furlongs", "12ms", "12pm", "large", "1e", "nan", "12,5mm"])
def test_what_is_no_size_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput, match="is not a size; write it in pixels: 40, or with a unit: 12mm"):
        size_in_pixels(text, [volume(tmp_path)])


def test_a_length_is_refused_where_pixels_have_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the image has no spacing"):
        size_in_pixels("12mm", [volume(tmp_path, (1, 1, 1), "pixel")])
    with pytest.raises(BadInput, match="not square"):
        size_in_pixels("12mm", [volume(tmp_path, (5, 0.5, 0.8))])
    path = volume(tmp_path)
    with pytest.raises(BadInput, match="several images"):
        size_in_pixels("12mm", [path, path])
