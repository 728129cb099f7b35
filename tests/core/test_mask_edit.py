"""Edits of a label, on shapes whose result is known."""

import numpy as np
import pytest

from napari_latentseg.core import mask_edit
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.mask_edit import MaskEdit, edit_spacing
from napari_latentseg.errors import Cancelled

SPACING = (3.0, 0.7, 0.5)  # of a CT with thick slices, in mm


def ball(radius, shape=(17, 70, 90), spacing=SPACING):
    """A ball of a radius in mm in the middle of a volume."""
    grid = np.meshgrid(
        *[(np.arange(n) - n // 2) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"
    )
    return np.sqrt(sum(g**2 for g in grid)) <= radius


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("by", [2.0, 4.0, -2.0, -4.0])
def test_a_ball_grows_by_mm_along_every_axis(by):
    shape, spacing = (41, 81, 101), (1.0, 0.5, 0.4)
    mask = ball(12.0, shape, spacing).astype(np.uint8) * 3
    edited = MaskEdit(grow=by).apply(mask, 3, "zyx", spacing)
    assert dice(edited == 3, ball(12.0 + by, shape, spacing)) > 0.97
    for axis, step in enumerate(spacing):
        others = tuple(i for i in range(3) if i != axis)
        growth = np.count_nonzero((edited == 3).any(others)) - np.count_nonzero((mask == 3).any(others))
        assert growth * step == pytest.approx(2 * by)


def test_growing_is_exactly_one_distance_transform_however_it_is_cut_into_slabs(monkeypatch):
    from scipy import ndimage

    rng = np.random.default_rng(3)
    mask = (rng.random((40, 30, 20)) > 0.995).astype(np.uint8)
    expected = ndimage.distance_transform_edt(mask == 0, sampling=SPACING) <= 4.0
    monkeypatch.setattr("napari_latentseg.core.mask_edit._SLAB_VOXELS", 3 * 600)
    assert np.array_equal(MaskEdit(grow=4.0).apply(mask, 1, "zyx", SPACING) == 1, expected)


def test_a_structure_that_reaches_the_border_is_not_shrunk_there():
    mask = np.zeros((20, 20), np.uint8)
    mask[:, :10] = 1
    edited = MaskEdit(grow=-3.0).apply(mask, 1, "yx", (1.0, 1.0))
    assert (edited[:, :7] == 1).all()
    assert not edited[:, 7:].any()
    assert MaskEdit(grow=-3.0).apply(np.ones((9, 9), np.uint8), 1, "yx", (1.0, 1.0)).all()


@pytest.mark.parametrize("edit", [MaskEdit(grow=5.0), MaskEdit(smooth=2.0), MaskEdit(fill_holes=True)])
def test_other_labels_and_locked_voxels_are_never_changed(edit):
    mask = ball(10.0).astype(np.uint8)
    mask[8, 30:40, 45:50] = 2
    mask[:, :, 60:63] = 4
    locked = np.zeros(mask.shape, bool)
    locked[9] = True
    edited = edit.apply(mask, 1, "zyx", SPACING, locked)
    for label in (2, 4):
        assert np.array_equal(edited == label, mask == label)
    assert np.array_equal(edited[9], mask[9])


def test_smoothing_removes_what_is_rough_and_keeps_the_size():
    rng = np.random.default_rng(0)
    smooth = ball(14.0)
    edge = ball(15.5) & ~ball(12.5)
    rough = np.where(edge, rng.random(edge.shape) > 0.5, smooth)
    edited = MaskEdit(smooth=1.5).apply(rough.astype(np.uint8), 1, "zyx", SPACING) == 1
    assert dice(edited, smooth) > 0.97 > 0.95 > dice(rough, smooth)
    assert np.count_nonzero(edited) == pytest.approx(np.count_nonzero(rough), rel=0.01)


def test_smoothing_leaves_a_structure_at_the_border_there():
    mask = np.zeros((40, 40), np.uint8)
    mask[:, :20] = 1
    assert np.array_equal(MaskEdit(smooth=3.0).apply(mask, 1, "yx", (1.0, 1.0)), mask)


def test_islands_are_those_that_touch_and_are_measured_in_mm3():
    mask = np.zeros((6, 20, 20), np.uint8)
    mask[0:2, 2:6, 2:6] = 1  # 32 voxels
    mask[2, 6, 6] = 1  # touches it with a corner
    mask[5, 15:18, 15:18] = 1  # 9 voxels
    mask[0, 19, 0] = 1
    keep = MaskEdit(keep_largest=True).apply(mask, 1, "zyx", (2.0, 1.0, 1.0))
    assert np.count_nonzero(keep) == 33
    # 18 mm3 are 9 voxels, of just that size
    assert np.count_nonzero(MaskEdit(smallest=18.0).apply(mask, 1, "zyx", (2.0, 1.0, 1.0))) == 42
    each = MaskEdit(keep_largest=True, each_slice=True).apply(mask, 1, "zyx", (2.0, 1.0, 1.0))
    assert np.count_nonzero(each) == 16 + 16 + 1 + 9


def test_a_tunnel_is_a_hole_of_each_slice_but_not_of_the_volume():
    mask = np.zeros((5, 11, 11), np.uint8)
    mask[:, 2:9, 2:9] = 1
    mask[:, 5, 5] = 0
    mask[2, 3, 3] = 0  # enclosed in the volume, too
    filled = MaskEdit(fill_holes=True).apply(mask, 1, "zyx", (1, 1, 1))
    assert filled[2, 3, 3] == 1
    assert not filled[:, 5, 5].any()
    assert MaskEdit(fill_holes=True, each_slice=True).apply(mask, 1, "zyx", (1, 1, 1))[:, 2:9, 2:9].all()


def test_slices_between_are_filled_unless_one_is_locked_as_empty():
    full = ball(16.0)
    mask = np.zeros(full.shape, np.uint8)
    mask[4::4] = full[4::4]
    filled = MaskEdit(fill_between=True).apply(mask, 1, "zyx", SPACING)
    assert np.array_equal(filled[4::4], mask[4::4])
    between = filled[4:13].astype(bool)
    assert dice(between, full[4:13]) > 0.92  # 12 mm apart, the ends of a ball are round
    locked = np.zeros(mask.shape, bool)
    locked[6] = True
    assert not MaskEdit(fill_between=True).apply(mask, 1, "zyx", SPACING, locked)[5:8].any()
    other = mask.copy()
    other[6] = 2
    edited = MaskEdit(fill_between=True).apply(other, 1, "zyx", SPACING)
    assert (edited[6] == 2).all()
    assert edited[5].any()


def test_times_are_edited_by_themselves():
    mask = np.zeros((2, 3, 9, 9), np.uint8)
    mask[0, 1, 4, 4] = 1
    mask[1, 1, 2, 2] = 1
    edited = MaskEdit(grow=1.0).apply(mask, 1, "tzyx", (1.0, 1.0, 1.0))
    assert [np.count_nonzero(part) for part in edited] == [7, 7]
    assert np.array_equal(MaskEdit(keep_largest=True).apply(edited, 1, "tzyx", (1.0, 1.0, 1.0)), edited)


def test_a_single_slice_of_a_volume_is_edited_in_two_dimensions():
    mask = np.zeros((1, 9, 9), np.uint8)
    mask[0, 2:7, 2:7] = 1
    mask[0, 4, 4] = 0
    assert MaskEdit(fill_holes=True).apply(mask, 1, "zyx", (5.0, 1.0, 1.0))[0, 4, 4] == 1


def test_what_progress_raises_stops_the_work_and_changes_nothing():
    mask = np.ones((4, 9, 9), np.uint8)
    mask[:, 0] = 0
    before = mask.copy()

    def stop(done, total):
        assert total == 4
        if done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        MaskEdit(grow=1.0, each_slice=True).apply(mask, 1, "zyx", (1, 1, 1), progress=stop)
    assert np.array_equal(mask, before)


def test_a_label_that_is_not_there_changes_nothing():
    mask = np.eye(5, dtype=np.int32)
    assert np.array_equal(MaskEdit(grow=1.0).apply(mask, 700, "yx", (1.0, 1.0)), mask)
    assert not MaskEdit(each_slice=True).is_active
    assert MaskEdit(smooth=0.1).is_active


EDITS = (
    MaskEdit(grow=1.6), MaskEdit(grow=-0.8), MaskEdit(smooth=0.7), MaskEdit(smallest=6.0),
    MaskEdit(keep_largest=True), MaskEdit(fill_holes=True), MaskEdit(fill_between=True),
    MaskEdit(grow=0.9, each_slice=True),
    MaskEdit(fill_between=True, fill_holes=True, keep_largest=True, grow=1.2, smooth=0.6),
)  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("shape", [(9, 30, 34), (1, 30, 34)])
def test_many_labels_at_once_are_those_edited_one_by_one_in_the_whole_volume(edit, shape):
    rng = np.random.default_rng(5)
    mask = np.where(rng.random(shape) > 0.6, np.kron(rng.integers(0, 9, (9, 6, 7)), np.ones((1, 5, 5)))[
        : shape[0], : shape[1], : shape[2]
    ], 0).astype(np.int64)  # fmt: skip
    mask[mask == 8] = 2**40  # as an id of an instance may be
    labels = [int(n) for n in np.unique(mask) if n]
    locked = rng.random(shape) > 0.97
    locked[4:5] = True
    expected = mask.copy()
    for label in labels:
        before = expected == label
        region = before.copy()
        if edit.fill_between:
            mask_edit._fill_between(region, SPACING, locked.all(axis=(1, 2)), None)
        edit._edit_parts(region, SPACING, None)
        expected[before & ~region & ~locked] = 0
        expected[region & (expected == 0) & ~locked] = label
    told = []
    edited = edit.apply(mask, labels, "zyx", SPACING, locked, lambda *parts: told.append(parts))
    assert np.array_equal(edited, expected)
    assert edited.dtype == mask.dtype
    assert told == [(n, len(labels)) for n in range(len(labels))]


def test_of_thousands_of_labels_each_is_edited_in_its_own_part(monkeypatch):
    mask = np.kron(np.arange(1, 2501).reshape(50, 50), np.pad(np.ones((4, 4), int), 4))
    sizes = []
    changed = MaskEdit._edit_box

    def watched(self, volume, *rest):
        sizes.append(volume.size)
        changed(self, volume, *rest)

    monkeypatch.setattr(MaskEdit, "_edit_box", watched)
    edited = MaskEdit(grow=1.0).apply(mask, range(1, 2501), "yx", (1.0, 1.0))
    assert np.array_equal(np.bincount(edited.ravel())[1:], np.full(2500, 16 + 4 * 4))
    assert max(sizes) <= 8 * 8


def test_lengths_are_pixels_where_no_spacing_is_known():
    assert edit_spacing(Geometry.from_spacing("zyx")) == ((1.0, 1.0, 1.0), "pixel")
    assert edit_spacing(Geometry.from_spacing("yx", (0.2, 0.1), "cm")) == ((2.0, 1.0), "mm")
