from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
from tests.helpers.made import balls, classes_of, made

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.calibration import VolumeInterval
from napari_latentseg.measure import class_sizes, measure
from napari_latentseg.measure import regions as regions_module
from napari_latentseg.measure.measurement import Measurement, format_value

SPACING = (2.0, 0.5, 1.0)
GEOMETRY = Geometry.from_matrix(
    np.array([[2.0, 0, 0, -7], [0, 0.5, 0, 3], [0, 0, 1.0, 11], [0, 0, 0, 1]]),
    ("mm",) * 3,
    tuple("zyx"),
    "LPS",
)
SHAPE = (12, 40, 30)
NEAR, FAR = (10.0, 8.0, 8.0), (14.0, 14.0, 22.0)


def two_balls(n: int = 5) -> Any:
    """Two balls whose radii grow and shrink from sample to sample, the far one twice as much."""
    sizes = np.linspace(-1, 1, n)
    return np.stack([[0.9 * balls(SHAPE, SPACING, (NEAR, 5 + 0.5 * s), (FAR, 4 + s))] for s in sizes])


def by_title(rows: tuple[Measurement, ...]) -> dict[str, Measurement]:
    return {row.title: row for row in rows}


def test_sizes_places_and_intensities():
    found = made(two_balls(), GEOMETRY)
    rng = np.random.default_rng(0)
    image = Scan(rng.integers(-1000, 1000, SHAPE).astype(np.int16), "zyx", GEOMETRY)
    whole, near, far = measure(found, image)
    assert (whole.title, near.title, far.title) == ("lesion", "lesion 1", "lesion 2")
    assert (whole.index, near.index != whole.index, near.index != far.index) == (1, True, True)
    mask = found.mask == 1
    assert whole.value == pytest.approx(mask.sum() * 1.0)
    assert (whole.unit, whole.length_unit, whole.ml) == ("mm3", "mm", pytest.approx(mask.sum() / 1000))
    assert near.value + far.value == pytest.approx(whole.value)
    assert near.value > far.value
    assert near.centroid == pytest.approx(np.add(NEAR, (-7, 3, 11)), abs=0.2)
    assert far.centroid == pytest.approx(np.add(FAR, (-7, 3, 11)), abs=0.2)
    assert near.long_axis == pytest.approx(10, abs=2)
    assert whole.long_axis > near.long_axis
    inside = image.array[mask]
    assert whole.intensity.mean == pytest.approx(inside.mean())
    assert whole.intensity.std == pytest.approx(inside.std())
    assert (whole.intensity.minimum, whole.intensity.maximum) == (inside.min(), inside.max())
    assert whole.probability == pytest.approx(found.mean[0][mask].mean())
    box = tuple(slice(*b) for b in far.box)
    assert mask[box].sum() >= far.value
    outside = mask.copy()
    outside[box] = False
    assert outside.sum() == near.value


def test_every_sample_is_shared_among_the_objects():
    samples = two_balls()
    found = made(samples, GEOMETRY)
    whole, near, far = measure(found)
    # the balls keep apart in every sample, so what is nearest to each is known
    z = np.arange(SHAPE[2]) < 15
    for row, side in ((near, z), (far, ~z)):
        volumes = (samples[:, 0] > 0.5)[..., side].sum(axis=(1, 2, 3)) * 1.0
        assert row.samples == 5
        assert row.mean == pytest.approx(volumes.mean())
        assert row.std == pytest.approx(volumes.std(ddof=1))
        assert (row.interval_source, row.low < volumes.mean() < row.high) == ("samples", True)
    assert near.mean + far.mean == pytest.approx(whole.mean)
    assert whole.std == pytest.approx(found.volumes[:, 0].std(ddof=1))


def test_the_interval_of_samples_holds_nine_of_ten_further_ones():
    rng = np.random.default_rng(1)
    hits = 0
    samples = np.zeros((3, 1, 8, 8))
    samples[..., :4, :4] = 1
    one = made(samples, Geometry.from_spacing("yx"), "yx", keep=False)
    for _ in range(400):
        volumes = rng.normal(16, 1, 6)  # as large as the mask
        found = replace(one, volumes=volumes[:5, None])
        row = measure(found, objects=False)[0]
        hits += row.low <= volumes[5] <= row.high
    assert 0.86 <= hits / 400 <= 0.94


@pytest.mark.parametrize(("n", "source"), [(2, "augment"), (1, "none")])
def test_too_few_samples_have_no_spread(n, source):
    for row in measure(made(two_balls(n), GEOMETRY, source=source)):
        assert (row.samples, row.mean, row.std, row.low, row.high, row.interval_source) == (
            0,
            None,
            None,
            None,
            None,
            "",
        )
        assert row.interval_text == ""


def interval(**changes: Any) -> VolumeInterval:
    fields = {"factors": {"lesion": 2.0}, "cases": 20, "samples": 5, "source": "augment", "threshold": 0.5,
              "data": "made"}  # fmt: skip
    return VolumeInterval(**(fields | changes))


def test_a_calibrated_interval_is_for_classes_alone():
    found = made(two_balls(), GEOMETRY)
    given = interval()
    whole, near, _ = measure(found, card=SimpleNamespace(volume_interval=given, fit=None, temperature=None))
    assert (whole.low, whole.high) == given.interval("lesion", found.volumes[:, 0])
    assert (whole.interval_source, near.interval_source) == ("calibrated", "samples")
    assert "calibrated" in whole.describe()


@pytest.mark.parametrize(
    "changes", [{"source": "noise"}, {"threshold": 0.4}, {"samples": 8}, {"factors": {"other": 2.0}}]
)
def test_an_interval_of_other_samples_is_not_used(changes):
    card = SimpleNamespace(volume_interval=interval(**changes), fit=None, temperature=None)
    whole, *_ = measure(made(two_balls(), GEOMETRY), card=card)
    assert whole.interval_source == "samples"


def test_an_edited_mask_keeps_the_spread_of_the_samples():
    found = made(two_balls(), GEOMETRY)
    edited = found.mask.copy()
    edited[:, :, 15:] = 0
    edited[0, 0, 0] = 9  # a class that the person added
    rows = by_title(measure(found, mask=edited))
    before = by_title(measure(found))
    assert set(rows) == {"lesion", "label 9", "lesion 1", "label 9 1"}
    assert rows["lesion"].value == before["lesion 1"].value
    assert (rows["lesion"].mean, rows["lesion"].std) == (before["lesion"].mean, before["lesion"].std)
    assert rows["label 9"].value == 1.0
    assert (rows["label 9"].mean, rows["label 9"].probability) == (None, None)


def test_classes_apart_and_one_that_is_not_there():
    first, second = balls(SHAPE, SPACING, (NEAR, 5)), balls(SHAPE, SPACING, (FAR, 4))
    samples = np.stack([[0.9 * first, 0.8 * second, np.zeros(SHAPE)]] * 3)
    found = made(samples, GEOMETRY, classes=classes_of("a", "b", "c"))
    rows = by_title(measure(found))
    assert list(rows) == ["a", "b", "c", "a 1", "b 1"]
    assert rows["a"].value == first.sum()
    assert rows["b"].value == second.sum()
    empty = rows["c"]
    assert (empty.value, empty.centroid, empty.long_axis, empty.box, empty.mean) == (0, None, None, None, 0)


def test_objects_touch_at_corners_and_across_slices():
    mask = np.zeros((1, 4, 6, 6))
    mask[0, 0, 0, 0] = mask[0, 1, 1, 1] = 1  # at a corner, in the next slice
    mask[0, 3, 5, 5] = 1
    found = made(np.stack([mask] * 3), Geometry.from_spacing("zyx"))
    assert [(m.object_number, m.value) for m in measure(found)] == [(0, 3), (1, 2), (2, 1)]


def test_points_in_time_are_measured_apart():
    samples = np.zeros((3, 1, 2, 3, 8, 8))
    samples[:, :, 0, :, 2:4, 2:4] = 1
    samples[:, :, 1, :, 2:5, 2:4] = 1
    samples[0, :, 1, :, 2:5, 2:4] = 0
    geometry = Geometry.from_spacing("tzyx", (30.0, 2.0, 1.0, 1.0), "mm")
    rows = measure(made(samples, geometry, "tzyx"))
    assert [(m.time, m.object_number, m.value) for m in rows] == [
        (0, 0, 24),
        (0, 1, 24),
        (1, 0, 36),
        (1, 1, 36),
    ]
    assert [m.mean for m in rows] == [24, 24, 24, 24]
    assert rows[0].std == 0
    assert rows[2].std == pytest.approx(np.std([0, 36, 36], ddof=1))
    assert rows[2].box == ((1, 2), (0, 3), (2, 5), (2, 4))
    assert rows[2].title == "lesion, time 2"
    assert len(rows[0].centroid) == 3


def test_one_plane_in_pixels():
    samples = np.zeros((3, 1, 20, 20))
    samples[:, :, 5:10, 3:15] = 1
    found = made(samples, Geometry.from_spacing("yx"), "yx")
    whole, _ = measure(found, Scan(np.full((20, 20, 3), 7, np.uint8), "yxc", found.geometry))
    assert (whole.value, whole.unit, whole.length_unit, whole.ml) == (60, "pixel", "pixel", None)
    assert whole.describe() == "lesion: 60 pixels, 15.0 % of the image (90 %: 60 to 60, of 3 samples)"
    assert whole.intensity.mean == 7


@pytest.mark.parametrize("units", [("mm", "pixel", "pixel"), ("pixel", "mm", "mm"), ("mm", "mm", "pixel")])
def test_a_size_along_some_axes_alone_is_none(units):
    geometry = Geometry.from_matrix(np.diag([2.0, 0.5, 0.5, 1.0]), units, ("z", "y", "x"))
    probabilities = np.zeros((3, 1, 4, 9, 7), np.float32)
    probabilities[..., 1:3, 2:5, 2:6] = 0.9
    whole, only = measure(made(probabilities, geometry))
    assert (whole.value, whole.unit, whole.length_unit) == (24, "pixel", "pixel")
    assert whole.centroid == pytest.approx((1.5, 3.0, 3.5))
    assert only.long_axis == pytest.approx(whole.long_axis)


def test_a_result_on_disk_gives_the_same(monkeypatch):
    found = made(two_balls(), GEOMETRY)
    lazy = replace(found, mask=da.from_array(found.mask, chunks=(1, 16, 16)),
                   mean=da.from_array(found.mean, chunks=(1, 1, 16, 16)))  # fmt: skip
    monkeypatch.setattr(
        "napari_latentseg.measure.timepoint._MAX_BLOCK_VOXELS", 7 * SHAPE[2]
    )  # bands of seven rows
    whole = measure(found, objects=False)
    assert measure(lazy) == measure(found)
    assert measure(lazy, objects=False) == whole
    for one, other in zip(whole, measure(found), strict=False):
        assert (one.value, one.centroid, one.long_axis) == (
            other.value, pytest.approx(other.centroid), pytest.approx(other.long_axis),
        )  # fmt: skip


def test_what_does_not_fit_is_refused(monkeypatch):
    found = made(two_balls(3), GEOMETRY)
    with pytest.raises(BadInput, match="mask: has shape"):
        measure(found, mask=found.mask[1:])
    with pytest.raises(BadInput, match="image: has shape"):
        measure(found, Scan(found.mask[1:], "zyx", GEOMETRY))
    with pytest.raises(BadInput, match="not labels"):
        measure(found, mask=found.mask.astype(int) - 1)
    monkeypatch.setattr(regions_module, "MAX_LABELLED_VOXELS", 100)
    with pytest.raises(BadInput, match="--no-objects"):
        measure(found)
    assert len(measure(found, objects=False)) == 1


ORGAN = (
    ClassInfo(label=1, name="organ", color="#ff0000", includes=("tumour",)),
    ClassInfo(label=2, name="tumour", color="#00ff00", includes=("core",)),
    ClassInfo(label=3, name="core", color="#0000ff"),
    ClassInfo(label=4, name="other", color="#00ffff"),
)


def nested(**options: Any) -> Segmentation:
    """An organ of 8 x 8 pixels in each of two slices, cut in two by its tumour of 3 x 8 with a core of 4."""
    samples = np.zeros((3, 4, 2, 10, 12))
    samples[:, 0, :, 1:9, 1:9] = 0.9
    samples[:, 1, :, 4:7, 1:9] = 0.9
    samples[:, 2, 0, 5, 2:6] = 0.9
    samples[:, 3, :, :, 11] = 0.9
    samples[0, 0, :, 8] = 0  # one sample finds less of the organ
    return made(samples, Geometry.from_spacing("zyx", (2.0, 1.0, 1.0), "mm"), classes=ORGAN, **options)


@pytest.mark.parametrize("keep", [True, False])
def test_a_class_is_measured_with_its_parts(keep: bool):
    found = nested(keep=keep)
    rows = {row.name: row for row in measure(found, objects=False)}
    assert {name: row.value / 2 for name, row in rows.items()} == {
        "organ": 128, "tumour": 48, "core": 4, "other": 20,
    }  # fmt: skip
    assert rows["organ"].includes == ("tumour", "core")
    assert rows["tumour"].includes == ("core",)
    assert rows["other"].includes == ()
    assert rows["organ"].mean == pytest.approx(2 * (112 + 128 + 128) / 3)
    assert rows["organ"].long_axis == pytest.approx(rows["organ"].short_axis, rel=0.01)  # still a square
    assert rows["organ"].centroid == pytest.approx((1.0, 4.5, 4.5))
    assert rows["organ"].describe().startswith("organ with tumour, core: 0.256 ml")
    for quick, row in zip(class_sizes(found), rows.values(), strict=True):
        assert (quick.value, quick.low, quick.high, quick.describe()) == (
            row.value, row.low, row.high, row.describe(),
        )  # fmt: skip


def test_an_organ_that_its_tumour_cuts_in_two_is_one_object():
    rows = [row for row in measure(nested()) if row.object_number]
    assert [(row.name, row.object_number, row.value / 2) for row in rows] == [
        ("organ", 1, 128), ("tumour", 1, 48), ("core", 1, 4), ("other", 1, 20),
    ]  # fmt: skip
    assert rows[0].samples == 3


def test_a_corrected_mask_is_compared_with_the_model_s_with_parts():
    found = nested()
    mask = found.mask.copy()
    mask[mask == 2] = 1  # a person takes the tumour for the organ
    for rows in (measure(found, mask=mask, objects=False), class_sizes(found, mask=mask)):
        organ, tumour, *_ = rows
        assert (organ.value, organ.model_value) == (256, 256)
        assert (tumour.value, tumour.model_value) == (8, 96)


def test_an_interval_that_was_calibrated_without_parts_is_not_called_calibrated():
    found = nested()
    fields = {"factors": dict.fromkeys(("organ", "tumour", "core", "other"), 1.0), "cases": 30, "samples": 3,
              "source": "augment", "threshold": 0.5, "data": "made", "dimensions": 3}  # fmt: skip
    for with_parts in (False, True):
        calibrated = VolumeInterval(**fields, with_parts=with_parts)
        card = SimpleNamespace(volume_interval=calibrated, fit=None, temperature=None)
        rows = {row.name: row for row in measure(found, objects=False, card=card)}
        assert rows["other"].interval_source == "calibrated", rows["other"].interval_reason
        assert (rows["organ"].interval_source == "calibrated") == with_parts
        assert ("calibrated without its parts" in rows["organ"].interval_reason) != with_parts


def test_progress_ends_at_one():
    told: list[float] = []
    measure(made(two_balls(3), GEOMETRY), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > SHAPE[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1523.4, "1523"),
        (99.96, "100"),
        (23.14, "23.1"),
        (1.518, "1.52"),
        (0.0512, "0.0512"),
        (9.996, "10.0"),
        (0.09996, "0.100"),
        (4.2e-5, "0.000042"),  # 42 mm², in m²
        (1.234e-7, "1.23e-07"),
        (-0.00152, "-0.00152"),
        (1e-17, "0"),
    ],
)
def test_three_digits(value, text):
    assert format_value(value) == text


def test_the_hippocampus_against_another_library(data_dir):
    """SimpleITK measures the reference masks of a volume: sizes and centroids in the patient."""
    sitk = pytest.importorskip("SimpleITK")
    from napari_latentseg.io import read_scan

    path = data_dir / "msd_hippocampus" / "masks" / "hippocampus_001.nii.gz"
    scan = read_scan(path)
    truth = np.asarray(scan.array)
    samples = np.stack([[truth == 1, truth == 2]] * 3).astype(np.float32)
    rows = by_title(measure(made(samples, scan.geometry, classes=classes_of("anterior", "posterior"))))
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkUInt8))
    for label, name in ((1, "anterior"), (2, "posterior")):
        assert rows[name].value == pytest.approx(shapes.GetPhysicalSize(label), rel=1e-6)
        assert rows[name].centroid[::-1] == pytest.approx(shapes.GetCentroid(label), abs=1e-4)
