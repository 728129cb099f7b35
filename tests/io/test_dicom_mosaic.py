"""Mosaics of slices (Siemens MOSAIC, United Imaging VFRAME) are split into the place of their slices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tests.helpers.dicom_mosaic import siemens_mosaic, united_imaging_grid

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicom import reader, source
from napari_latentseg.io.image_header import ImageHeader

STEP, SPACING, FIRST = 3.5, (1.5, 1.25), (10.0, -20.0, 30.0)
# dcm2niix 1.0.20260724 puts each voxel of such mosaics where these tests expect it, within 3e-6 mm.
TURNS = [(0, 0, 0), (20, -35, 50), (-60, 10, 5)]


def directions(turn: tuple[float, float, float]) -> np.ndarray:
    """Unit vectors along rows, along columns, and normal to both."""
    return Rotation.from_euler("xyz", turn, degrees=True).as_matrix().T


def expected_place(index: np.ndarray, turn, sign: int) -> np.ndarray:
    """Where a voxel `(slice, row, column)` of the mosaic lies, by the definition of its header."""
    row, column, normal = directions(turn)
    z, y, x = index
    return np.array(FIRST) + x * SPACING[1] * row + y * SPACING[0] * column + z * STEP * sign * normal


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("sign", [1, -1])
def test_every_voxel_lies_where_its_slice_was(made, tmp_path, turn, sign):
    volume = made.ramp(7, 6, 8)
    row, column, normal = directions(turn)
    orientation = [*row, *column]
    made.save(
        siemens_mosaic(volume, FIRST, orientation, sign * normal, spacing=SPACING, step=STEP),
        tmp_path / "a.dcm",
    )
    scan = reader.read(tmp_path)
    assert (scan.axes, scan.array.shape, scan.geometry.frame) == ("zyx", (7, 6, 8), "LPS")
    assert scan.array.chunks == ((7,), (6,), (8,))
    assert scan.notes == ("each image is a mosaic of 7 slices, which was split",)
    values = np.asarray(scan.array)
    for index in np.argwhere(values >= 0)[::11]:
        stored = np.argwhere(volume == values[tuple(index)])[0]
        place = (scan.geometry.matrix @ [*index, 1])[2::-1]
        assert np.allclose(place, expected_place(stored, turn, sign), rtol=0, atol=1e-4)


def test_a_grid_of_united_imaging_takes_the_positions_of_its_slices(made, tmp_path):
    volume = made.ramp(20, 4, 4)  # 4 x 5 tiles: not as many down as across
    row, column, normal = directions(TURNS[1])
    positions = [np.array(FIRST) + k * STEP * normal for k in range(20)]
    ds = united_imaging_grid(volume, positions, [*row, *column], PixelSpacing=list(SPACING))
    assert (ds.Rows, ds.Columns) == (16, 20)
    scan = reader.read(made.save(ds, tmp_path / "a.dcm"))
    assert np.array_equal(np.asarray(scan.array), volume)
    for index in ((0, 0, 0), (19, 3, 3), (7, 1, 2)):
        place = (scan.geometry.matrix @ [*index, 1])[2::-1]
        assert np.allclose(place, expected_place(np.array(index), TURNS[1], 1), rtol=0, atol=1e-4)


def test_several_volumes_make_a_series_and_each_file_is_decoded_once(made, tmp_path, monkeypatch):
    from napari_latentseg.io.dicom import pixels

    volumes = made.ramp(3, 5, 6, 8)
    for number, volume in enumerate(volumes):
        ds = siemens_mosaic(
            volume, (0, 0, 0), [1, 0, 0, 0, 1, 0], (0, 0, 1),
            AcquisitionNumber=number + 1, SOPInstanceUID=f"1.2.{number}",
        )  # fmt: skip
        made.save(ds, tmp_path / f"{9 - number}.dcm")
    scan = reader.read(tmp_path)
    assert (scan.axes, scan.array.shape) == ("tzyx", (3, 5, 6, 8))
    decoded = []
    original = pixels.decode_stored
    monkeypatch.setattr(pixels, "decode_stored", lambda *a: decoded.append(a[0].name) or original(*a))
    assert np.array_equal(scan.array.compute(scheduler="synchronous"), volumes)
    assert sorted(decoded) == ["7.dcm", "8.dcm", "9.dcm"]
    assert np.array_equal(np.asarray(scan.array[1, 2, ::2, 3]), volumes[1, 2, ::2, 3])


@pytest.mark.parametrize("damaged", [False, True])
def test_without_the_private_header_the_order_is_assumed_with_a_note(made, tmp_path, damaged):
    volume = made.ramp(5, 4, 4)
    ds = siemens_mosaic(volume, (0, 0, 0), [1, 0, 0, 0, 1, 0], None, csa=damaged)
    if damaged:
        ds.private_block(0x29, "SIEMENS CSA HEADER")[0x10].value = b"SV10\x04\x03\x02\x01" + b"\xff" * 40
    scan = reader.read(made.save(ds, tmp_path / "a.dcm"))
    assert np.array_equal(np.asarray(scan.array), volume)
    assert "the order of its slices is assumed from the orientation" in scan.notes


AXIAL = (1, 0, 0, 0, 1, 0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"csa": False, "count": False}, "is a mosaic of slices whose number is not given"),
        ({"step": None}, "is a mosaic of slices whose distance is not given"),
        ({"normal": (0, 1, 0)}, "two different directions"),
        ({"PixelSpacing": None}, "whose position is not given"),
        ({"Rows": 7}, "does not divide into 5 slices"),
    ],
)
def test_what_does_not_say_how_to_split_it_is_refused(made, tmp_path, changes, why):
    arguments = {"normal": (0, 0, 1)} | changes
    ds = siemens_mosaic(made.ramp(5, 4, 4), (0, 0, 0), AXIAL, **arguments)
    made.save(ds, tmp_path / "mosaic" / "a.dcm")
    with pytest.raises(BadInput, match=rf"^a\.dcm: .*{why}.*dcm2niix"):
        reader.read(tmp_path)
    # another series of the folder is read all the same
    made.series(
        tmp_path / "b", made.ramp(3, 4, 5), made.positions(3), SeriesInstanceUID="1.9", SeriesNumber=9
    )
    problems = [info.problem for info in reader.list_series(tmp_path)]
    assert len(problems) == 2
    assert why in problems[0]
    assert problems[1] == ""
    assert reader.read(tmp_path, 2).array.shape == (3, 4, 5)


def test_a_grid_without_positions_is_refused(made, tmp_path):
    ds = united_imaging_grid(made.ramp(4, 4, 4), [], AXIAL)
    with pytest.raises(BadInput, match=r"grid of slices whose positions are not given"):
        reader.read(made.save(ds, tmp_path / "a.dcm"))


def test_one_slice_is_no_mosaic(made, tmp_path):
    image = made.ramp(1, 6, 8)
    scan = reader.read(made.save(siemens_mosaic(image, FIRST, AXIAL, (0, 0, 1)), tmp_path / "a.dcm"))
    assert np.array_equal(np.asarray(scan.array), image)
    assert np.allclose(scan.geometry.matrix[:3, 3], FIRST[::-1])
    assert scan.notes == ()


def test_dicom_seg_cannot_refer_to_the_slices_of_a_mosaic(made, tmp_path):
    scan = reader.read(
        made.save(siemens_mosaic(made.ramp(5, 4, 4), FIRST, AXIAL, (0, 0, 1)), tmp_path / "a.dcm")
    )
    with pytest.raises(BadInput, match=r"keeps its slices in mosaics.*write NIfTI"):
        source.find_source(ImageHeader.of(scan))
