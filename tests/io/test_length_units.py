"""Units of length in NRRD and MetaImage: known ones are converted, others are refused or noted."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np
import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan

VOLUME = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
_ASSUMED = "the file gives no unit of length; millimetres were assumed"


def written(tmp_path: Path, **fields: object) -> Path:
    nrrd.write(str(tmp_path / "a.nrrd"), VOLUME.T, fields)
    return tmp_path / "a.nrrd"


@pytest.mark.parametrize(
    ("units", "spacing", "unit", "notes"),
    [
        (["in"] * 3, (3 * 25.4, 2 * 25.4, 25.4), "mm", ()),
        (["mm", "mm", "um"], (0.003, 2, 1), "mm", ()),
        (["pixel"] * 3, (3, 2, 1), "pixel", ()),
        ([""] * 3, (3, 2, 1), "mm", (_ASSUMED,)),
    ],
)
def test_units_of_the_axes_of_nrrd(tmp_path, units, spacing, unit, notes):
    scan = read_scan(written(tmp_path, spacings=[1, 2, 3.0], units=units))
    assert scan.geometry.spacing == pytest.approx(spacing)
    assert (scan.geometry.units, scan.notes) == ((unit,) * 3, notes)


def test_units_of_the_space_of_nrrd(tmp_path):
    directions = np.diag([1.0, 2, 3])
    space = {"space": "left-posterior-superior", "space directions": directions, "space origin": [1.0, 0, 0]}
    scan = read_scan(written(tmp_path, **space, **{"space units": ["inches"] * 3}))
    assert scan.geometry.spacing == pytest.approx((76.2, 50.8, 25.4))
    assert scan.geometry.matrix[:3, 3] == pytest.approx([0, 0, 25.4])


@pytest.mark.parametrize("units", [["furlong"] * 3, ["mm", "mm", ""], ["mm", "mm", "s"]])
def test_units_that_are_no_lengths_are_refused(tmp_path, units):
    with pytest.raises(BadInput, match="unknown units of length; save it in millimetres"):
        read_scan(written(tmp_path, spacings=[1, 2, 3.0], units=units))


@pytest.mark.parametrize(("unit", "factor", "noted"), [("inch", 25.4, False), ("furlong", 1, True)])
def test_units_of_metaimage(tmp_path, unit, factor, noted):
    header = f"NDims = 3\nDimSize = 6 5 4\nElementSpacing = 1 2 3\nOffset = 1 0 0\nDistanceUnits = {unit}\n"
    last = "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes((header + last).encode() + VOLUME.tobytes())
    scan = read_scan(tmp_path / "a.mha")
    assert scan.geometry.spacing == pytest.approx((3 * factor, 2 * factor, factor))
    assert scan.geometry.matrix[:3, 3] == pytest.approx([0, 0, factor])
    assert bool(scan.notes) == noted


@pytest.mark.parametrize(("spacing", "notes"), [("ElementSpacing = 1 1 1\n", 0), ("", 1)])
def test_a_metaimage_without_a_spacing_says_so(tmp_path, spacing, notes):
    header = f"ObjectType = Image\nNDims = 3\nDimSize = 6 5 4\n{spacing}ElementType = MET_UCHAR\n"
    (tmp_path / "a.mha").write_bytes(f"{header}ElementDataFile = LOCAL\n".encode() + VOLUME.tobytes())
    scan = read_scan(tmp_path / "a.mha")
    assert (scan.geometry.spacing, scan.geometry.units) == ((1, 1, 1), ("mm",) * 3)
    assert scan.notes == ("the file gives no spacing; 1 was assumed along each axis",) * notes
