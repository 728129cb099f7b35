"""NRRD files of time series, as different programs write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan, read_scan_lazy

SERIES = np.arange(3 * 4 * 5 * 6, dtype=np.uint16).reshape(3, 4, 5, 6)  # t z y x
TIME_FIRST = np.moveaxis(SERIES, 0, -1)
LPS = "space: left-posterior-superior\nspace origin: (1,2,3)\n"
MILLISECONDS = 'kinds: time space space space\nspacings: 5 2 2 3\nunits: "ms" "mm" "mm" "mm"\n'
SPACE = "(2,0,0) (0,2,0) (0,0,3)"
ITK = (
    "space dimension: 4\nspace origin: (1,2,3,0)\n"
    "space directions: (2,0,0,0) (0,2,0,0) (0,0,3,{}) (0,0,0,{})\n"
)
ITK_SPACE = ITK.replace("space dimension: 4", "space: left-posterior-superior-time")
SLICER = "kinds: list space space space\nMultiVolume.NumberOfFrames:=3\nMultiVolume.FrameLabels:=0,10,20\n"


def written(folder: Path, values: np.ndarray, fields: str) -> Path:
    sizes = " ".join(map(str, values.shape[::-1]))
    header = (
        f"NRRD0005\ntype: uint16\ndimension: 4\nsizes: {sizes}\nendian: little\n{fields}encoding: raw\n\n"
    )
    (folder / "a.nrrd").write_bytes(header.encode() + np.ascontiguousarray(values).tobytes())
    return folder / "a.nrrd"


@pytest.mark.parametrize(
    ("values", "fields", "step", "unit"),
    [
        (SERIES, LPS + f"space directions: {SPACE} none\nkinds: space space space list\n", 1, "pixel"),
        (SERIES, LPS + f"space directions: {SPACE} none\nkinds: domain domain domain time\n", 1, "pixel"),
        (SERIES, LPS + f"space directions: {SPACE} none\n", 1, "pixel"),
        (TIME_FIRST, LPS + f"space directions: none {SPACE}\nkinds: time domain domain domain\n", 1, "pixel"),
        (TIME_FIRST, LPS + f"space directions: none {SPACE}\n" + SLICER, 1, "pixel"),
        (SERIES, "kinds: domain domain domain time\nspacings: 2 2 3 0.5\n", 0.5, "s"),
        (TIME_FIRST, "kinds: time domain domain domain\nspacings: 0.5 2 2 3\n", 0.5, "s"),
        (TIME_FIRST, MILLISECONDS, 5, "ms"),
        (SERIES, ITK.format(0, 0.5) + "kinds: domain domain domain domain\n", 0.5, "s"),
        (SERIES, ITK_SPACE.format(0, 0.5), 0.5, "s"),
    ],
)  # fmt: skip
def test_a_time_series_is_read_whichever_axis_is_time(
    tmp_path: Path, values: np.ndarray, fields: str, step: float, unit: str
) -> None:
    path = written(tmp_path, values, fields)
    for scan in (read_scan(path), read_scan_lazy(path)):
        assert scan.axes == "tzyx"
        assert np.array_equal(np.asarray(scan.array), SERIES)
        assert scan.geometry.spacing == (step, 3, 2, 2)
        assert scan.geometry.units == (unit, "mm", "mm", "mm")


def test_a_series_that_itk_wrote_is_read(tmp_path: Path) -> None:
    import SimpleITK

    image = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(volume) for volume in SERIES])
    image.SetSpacing((2, 2, 3, 0.5))
    image.SetOrigin((1, 2, 3, 0))
    for name in ("itk.nrrd", "itk.mha"):
        SimpleITK.WriteImage(image, str(tmp_path / name))
    found, expected = (read_scan(tmp_path / name) for name in ("itk.nrrd", "itk.mha"))
    assert np.array_equal(found.array, SERIES)
    assert found.geometry.matrix == pytest.approx(expected.geometry.matrix)


@pytest.mark.parametrize("fields", [ITK.format(1, 0.5), ITK.format(0, -1), ITK.format(0, 0)])
def test_time_that_is_mixed_with_space_is_one_line(tmp_path: Path, fields: str) -> None:
    with pytest.raises(BadInput, match=r"a\.nrrd: has a time axis that is mixed with space") as caught:
        read_scan(written(tmp_path, SERIES, fields))
    assert "\n" not in str(caught.value)


def test_a_list_of_something_else_is_channels(tmp_path: Path) -> None:
    """As the directions of a diffusion scan, which ITK too takes as the elements of a vector."""
    fields = LPS + f"space directions: none {SPACE}\nkinds: list domain domain domain\nmodality:=DWMRI\n"
    assert read_scan(written(tmp_path, TIME_FIRST, fields)).axes == "zyxc"
