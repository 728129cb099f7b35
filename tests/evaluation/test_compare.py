from __future__ import annotations

import numpy as np
import pytest
from tests.helpers.made import balls, classes_of

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.compare import compare
from napari_latentseg.evaluation.scores import score

SPACING = (2.0, 0.5, 1.0)
SHAPE = (14, 40, 30)
GEOMETRY = Geometry.from_spacing("zyx", SPACING, "mm")
ONE = classes_of("lesion")
TRUTH = balls(SHAPE, SPACING, ((14.0, 10.0, 14.0), 7.0))
FOUND = balls(SHAPE, SPACING, ((14.0, 11.0, 15.0), 6.5))


def test_the_metrics_with_the_spacing_of_the_scan():
    (one,) = compare(FOUND, TRUTH, GEOMETRY, ONE, assd=True)
    known = score(FOUND, TRUTH, SPACING)
    assert (one.dsc, one.iou, one.hd95, one.unit, one.empty) == (known.dsc, known.iou, known.hd95, "mm", "")
    assert 0 < one.assd < one.hd95
    assert one.describe().startswith("lesion: Dice 0.")


def test_monai_finds_the_same_surface_distance():
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    (one,) = compare(FOUND, TRUTH, GEOMETRY, ONE, assd=True)
    a, b = (torch.tensor(m[None, None].astype(np.float32)) for m in (FOUND, TRUTH))
    theirs = monai.compute_average_surface_distance(
        a, b, symmetric=True, include_background=True, spacing=SPACING
    )
    assert one.assd == pytest.approx(float(theirs), abs=0.05)


def turned(shear: float = 0.0) -> Geometry:
    cos, sin = np.cos(0.4), np.sin(0.4)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    slant = np.eye(3)
    slant[1, 0] = shear
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ slant @ np.diag(SPACING)
    return Geometry.from_matrix(matrix, ("mm",) * 3, tuple("zyx"))


def test_a_turned_scan_has_the_same_distances():
    first, second = (compare(FOUND, TRUTH, g, ONE)[0] for g in (GEOMETRY, turned()))
    assert first.hd95 == pytest.approx(second.hd95)


def test_a_sheared_scan_is_measured_in_the_world():
    """The distance of two single elements, which is known."""
    a, b = np.zeros((2, *SHAPE), bool)
    a[2, 5, 5] = b[9, 20, 8] = True
    geometry = turned(0.6)
    away = geometry.matrix[:3, :3] @ (7, 15, 3)
    (one,) = compare(a, b, geometry, ONE, assd=True)
    assert one.hd95 == pytest.approx(np.linalg.norm(away))
    assert one.assd == pytest.approx(np.linalg.norm(away))
    assert one.hd95 != pytest.approx(np.linalg.norm(np.multiply((7, 15, 3), SPACING)), rel=0.01)


def test_nearly_square_axes_give_what_square_ones_do():
    """The exact way, for sheared axes, against the usual one."""
    almost, square = compare(FOUND, TRUTH, turned(2e-3), ONE)[0], compare(FOUND, TRUTH, turned(), ONE)[0]
    assert almost.hd95 == pytest.approx(square.hd95, rel=5e-3)


EMPTY = np.zeros(SHAPE, bool)
DIAGONAL = float(np.linalg.norm(np.multiply(SHAPE, SPACING)))


@pytest.mark.parametrize(
    ("mask", "reference", "empty", "dsc", "hd95"),
    [
        (EMPTY, EMPTY, "both", 1.0, 0.0),
        (EMPTY, TRUTH, "prediction", 0.0, DIAGONAL),
        (FOUND, EMPTY, "truth", 0.0, DIAGONAL),
    ],
)
def test_empty_masks(mask, reference, empty, dsc, hd95):
    (one,) = compare(mask, reference, GEOMETRY, ONE, assd=True)
    assert (one.empty, one.dsc) == (empty, dsc)
    assert one.hd95 == one.assd == pytest.approx(hd95)
    assert one.hd95 == pytest.approx(score(mask, reference, SPACING).hd95)
    assert "not in the" in one.describe() or "in neither" in one.describe()


def test_the_diagonal_of_a_sheared_scan_is_the_longest():
    geometry = turned(0.6)
    corners = [geometry.matrix[:3, :3] @ (14, 40 * sign, 30) for sign in (1, -1)]
    (one,) = compare(EMPTY, TRUTH, geometry, ONE)
    assert one.hd95 == pytest.approx(max(np.linalg.norm(corner) for corner in corners))


def test_one_class_is_whatever_is_not_0():
    assert compare(FOUND.astype(np.uint8), TRUTH * np.uint8(255), GEOMETRY, ONE) == compare(
        FOUND, TRUTH, GEOMETRY, ONE
    )


def test_several_classes_by_their_labels():
    mask, truth = (np.where(m, 2, 0).astype(np.uint8) for m in (FOUND, TRUTH))
    mask[0, 0, 0] = truth[0, 0, 0] = 1
    first, second = compare(mask, truth.astype(float), GEOMETRY, classes_of("a", "b"))
    assert (first.dsc, first.hd95) == (1.0, 0.0)
    assert second.dsc == compare(FOUND, TRUTH, GEOMETRY, ONE)[0].dsc


def test_points_in_time_are_compared_apart():
    geometry = Geometry.from_spacing("tzyx", (1.0, *SPACING), "mm")
    first, second = compare(np.stack([TRUTH, FOUND]), np.stack([TRUTH, TRUTH]), geometry, ONE)
    assert (first.time, first.dsc, first.hd95) == (0, 1.0, 0.0)
    assert (second.time, second.dsc) == (1, compare(FOUND, TRUTH, GEOMETRY, ONE)[0].dsc)
    assert "time 2" in second.describe()


def test_a_film_is_compared_with_its_slices_as_nifti_stores_them():
    mask = np.zeros((3, 20, 24), np.uint8)
    mask[:, 5:15, 6:12] = 1
    film = Geometry.from_spacing("tyx", (0.04, 0.5, 0.25), "mm")
    slices = Geometry.from_spacing("tzyx", (0.04, 1.0, 0.5, 0.25), "mm")
    for one, other, geometry, reference in (
        (mask, mask[:, None], film, slices),
        (mask[:, None], mask, slices, film),
    ):
        rows = compare(one, other, geometry, ONE, reference_geometry=reference)
        assert [(row.time, row.dsc, row.hd95) for row in rows] == [(0, 1, 0), (1, 1, 0), (2, 1, 0)]
    wider = Geometry.from_spacing("tzyx", (0.04, 1.0, 0.5, 0.5), "mm")
    with pytest.raises(BadInput, match="reference"):
        compare(mask, mask[:, None], film, ONE, reference_geometry=wider)


def test_units_are_brought_together():
    mixed = Geometry.from_matrix(np.diag([0.2, 0.5, 1.0, 1]), ("cm", "mm", "mm"), tuple("zyx"))
    assert compare(FOUND, TRUTH, mixed, ONE)[0].hd95 == pytest.approx(
        compare(FOUND, TRUTH, GEOMETRY, ONE)[0].hd95
    )


MOVED = Geometry.from_matrix(
    np.array([[2.0, 0, 0, 1], [0, 0.5, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]]), ("mm",) * 3, tuple("zyx")
)


@pytest.mark.parametrize(
    ("mask", "reference", "other", "why"),
    [
        (FOUND, TRUTH[1:], None, "has shape"),
        (FOUND, TRUTH, MOVED, "lies elsewhere in the patient than the mask"),
        (FOUND, TRUTH, Geometry.from_spacing("yx"), "has 2 axes"),
        (FOUND * 0.3, TRUTH, None, "not labels"),
        (np.where(FOUND, np.inf, 0.0), TRUTH, None, "not labels"),
        (FOUND[0], TRUTH[0], None, "has 3 axes"),
    ],
)
def test_what_does_not_belong_together(mask, reference, other, why):
    with pytest.raises(BadInput, match=why):
        compare(mask, reference, GEOMETRY, ONE, reference_geometry=other)


def test_an_organ_is_scored_with_its_tumour_as_evaluate_scores_it():
    liver, tumour = classes_of("liver", "tumour")
    classes = (liver.model_copy(update={"includes": ("tumour",)}), tumour)
    reference = TRUTH.astype(np.uint8)
    mask = reference.copy()
    mask[FOUND & TRUTH] = 2  # nearly all of the organ is tumour here, and none of it there
    organ, part = compare(mask, reference, GEOMETRY, classes)
    assert (organ.dsc, organ.hd95) == (1.0, 0.0)
    assert part.empty == "truth"


@pytest.mark.parametrize("value", [-1, -1.0, 1e300])
def test_what_is_no_label_is_refused(value):
    with pytest.raises(BadInput, match=r"negative numbers|not labels"):
        compare(np.full(SHAPE, value), TRUTH, GEOMETRY, ONE)
