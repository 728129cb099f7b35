"""NRRD files of one slice whose thickness the header leaves out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_latentseg.io import read_scan, read_scan_lazy

PLANE = np.arange(20, dtype=np.uint8).reshape(4, 5)
SPACE = "space: left-posterior-superior\nspace directions: (0.5,0,0) (0,0.5,0) {}\nspace origin: (1,2,3)\n"
THICKNESS_NOTE = "the file does not say how thick its slice is; volumes are those of 1 mm"


def written(folder: Path, fields: str, sizes: str = "5 4 1") -> Path:
    header = (
        f"NRRD0004\ntype: uint8\ndimension: {len(sizes.split())}\nsizes: {sizes}\n{fields}encoding: raw\n\n"
    )
    (folder / "a.nrrd").write_bytes(header.encode() + PLANE.tobytes())
    return folder / "a.nrrd"


@pytest.mark.parametrize(
    "fields",
    [
        "spacings: 0.5 0.5 nan\n",
        "spacings: 0.5 0.5 nan\nkinds: domain domain domain\n",
        'spacings: 0.5 0.5 nan\nunits: "mm" "mm" ""\n',
        SPACE.format("none"),
        SPACE.format("none") + "kinds: domain domain none\n",
    ],
)
def test_a_third_axis_of_one_element_is_a_slice_as_in_itk(tmp_path: Path, fields: str) -> None:
    path = written(tmp_path, fields)
    for scan in (read_scan(path), read_scan_lazy(path)):
        assert (scan.axes, scan.array.shape) == ("zyx", (1, 4, 5))
        assert np.array_equal(np.asarray(scan.array)[0], PLANE)
        assert scan.geometry.spacing == (1, 0.5, 0.5)
        assert THICKNESS_NOTE in scan.notes
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    assert image.GetSize() == (5, 4, 1)
    assert image.GetSpacing() == (0.5, 0.5, 1)
    if "space" in fields:
        assert scan.geometry.matrix[:3, 3] == pytest.approx(image.GetOrigin()[::-1])


@pytest.mark.parametrize(
    "fields",
    [
        "spacings: 0.5 0.5 nan\nkinds: domain domain time\n",
        "spacings: 0.5 0.5 nan\nkinds: domain domain list\n",
        'spacings: 0.5 0.5 nan\nunits: "mm" "mm" "ms"\n',
        SPACE.format("none") + "kinds: domain domain time\n",
    ],
)
def test_an_axis_of_one_time_stays_time(tmp_path: Path, fields: str) -> None:
    assert read_scan(written(tmp_path, fields)).axes.startswith("t")


def test_two_elements_are_times(tmp_path: Path) -> None:
    scan = read_scan(written(tmp_path, "spacings: 0.5 0.5 nan\n", "5 2 2"))
    assert scan.axes == "tyx"


def test_a_plane_in_space_says_that_its_thickness_is_assumed(tmp_path: Path) -> None:
    scan = read_scan(written(tmp_path, SPACE.format("").replace(" \n", "\n"), "5 4"))
    assert scan.axes == "zyx"
    assert THICKNESS_NOTE in scan.notes
