"""The papers' protocols on arrays, each against a computation of a few lines that shares no code with it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, distance_transform_edt

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.protocols import PROTOCOLS, ProtocolScores, find_protocol, soft_dice

Pair = tuple[np.ndarray, np.ndarray]


def pairs(shape: tuple[int, ...] = (40, 40), count: int = 6) -> list[Pair]:
    """Predictions and references that overlap by chance, none of them empty."""
    rng = np.random.default_rng(3)
    grid = np.indices(shape)

    def ball() -> np.ndarray:
        centre = rng.uniform(0.35, 0.65, len(shape)) * shape
        radius = rng.uniform(0.15, 0.3) * shape[-1]
        distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True)))
        return np.asarray(distance < radius)

    return [(ball(), ball()) for _ in range(count)]


def empties(shape: tuple[int, ...] = (40, 40)) -> dict[str, Pair]:
    nothing, something = np.zeros(shape, bool), np.zeros(shape, bool)
    something[10:20, 10:20] = True
    return {
        "both": (nothing, nothing),
        "prediction": (nothing, something),
        "truth": (something, nothing),
    }


def report_of(name: str, masks: list[Pair], probabilities: list[np.ndarray] | None = None):
    scores = ProtocolScores(PROTOCOLS[name], ["target"])
    for i, (prediction, reference) in enumerate(masks):
        scores.add(0, prediction, reference, None if probabilities is None else probabilities[i])
    return scores.report(None, "float32")


def hd95_as_medpy(a: np.ndarray, b: np.ndarray) -> float:
    """Percentile of the distances of both directions, over borders of 4-neighbours."""
    borders = [m & ~binary_erosion(m) for m in (a, b)]
    one = distance_transform_edt(~borders[1])[borders[0]]
    other = distance_transform_edt(~borders[0])[borders[1]]
    return float(np.percentile(np.hstack((one, other)), 95))


def test_gms_is_its_confusion_matrix_image_by_image() -> None:
    masks = [*pairs(), *empties().values()]
    dsc, iou, hd95 = [], [], []
    for prediction, reference in masks:
        tp = (prediction & reference).sum()
        fp, fn = (prediction & ~reference).sum(), (~prediction & reference).sum()
        dsc.append(2 * tp / (2 * tp + fp + fn) if 2 * tp + fp + fn else 0)
        iou.append(tp / (tp + fp + fn) if tp + fp + fn else 0)
        both_there = prediction.any() and reference.any()
        hd95.append(hd95_as_medpy(prediction, reference) if both_there else 0)
    report = report_of("gms", masks)
    assert report.mean.dsc == pytest.approx(np.mean(dsc), abs=1e-12)
    assert report.mean.iou == pytest.approx(np.mean(iou), abs=1e-12)
    assert report.mean.hd95 == pytest.approx(np.mean(hd95), abs=1e-9)
    assert report.empty == {"prediction": 1, "truth": 1, "both": 1}


def test_sdseg_is_the_two_functions_of_its_code() -> None:
    masks = [*pairs(), *empties().values()]

    def dice_score(p: np.ndarray, t: np.ndarray) -> float:
        if p.sum() > 0 and t.sum() == 0:
            return 1
        return 2 * (p * t).sum() / (p.sum() + t.sum()) if p.sum() > 0 and t.sum() > 0 else 0

    def iou_score(p: np.ndarray, t: np.ndarray) -> float:
        both = (p * t).sum()
        return both / (p.sum() + t.sum() - both + 1e-10)

    numbers = [(p.astype(float), t.astype(float)) for p, t in masks]
    report = report_of("sdseg", masks)
    assert report.mean.dsc == pytest.approx(np.mean([dice_score(*m) for m in numbers]), abs=1e-12)
    assert report.mean.iou == pytest.approx(np.mean([iou_score(*m) for m in numbers]), abs=1e-9)


def test_sdseg_scores_a_volume_as_a_whole() -> None:
    masks = pairs((5, 40, 40), 3)
    report = report_of("sdseg", masks)
    expected = [2 * (p & t).sum() / (p.sum() + t.sum()) for p, t in masks]
    assert report.mean.dsc == pytest.approx(np.mean(expected), abs=1e-12)


def test_medseglatdiff_pools_the_pixels_of_all_images() -> None:
    masks = [*pairs(), *empties().values()]
    prediction = np.concatenate([p.ravel() for p, _ in masks])
    reference = np.concatenate([t.ravel() for _, t in masks])
    overlap = (prediction & reference).sum()
    report = report_of("medseglatdiff", masks)
    assert report.aggregation == "pooled"
    dsc = 2 * overlap / (prediction.sum() + reference.sum())
    assert report.pooled.dsc == pytest.approx(dsc, abs=1e-12)
    assert report.pooled.iou == pytest.approx(overlap / (prediction | reference).sum(), abs=1e-12)
    # of pooled pixels, and only of these, the two are bound to each other
    assert report.pooled.iou == pytest.approx(dsc / (2 - dsc), abs=1e-12)
    assert report.mean.dsc != pytest.approx(dsc, abs=1e-3)


def test_guided_averages_volumes_class_by_class_and_leaves_out_classes_that_are_not_there() -> None:
    rng = np.random.default_rng(0)
    predictions, references = (rng.random((3, 2, 4, 20, 20)) < 0.4 for _ in range(2))
    references[1, 1] = False  # the second class is not in the second volume
    scores = ProtocolScores(PROTOCOLS["guided"], ["liver", "spleen"])
    for prediction, reference in zip(predictions, references, strict=True):
        for k in range(2):
            scores.add(k, prediction[k], reference[k])
    report = scores.report(None, "float32")
    expected = []
    for k, volumes in enumerate(([0, 1, 2], [0, 2])):
        values = [
            2 * (predictions[v, k] & references[v, k]).sum()
            / (predictions[v, k].sum() + references[v, k].sum())
            for v in volumes
        ]  # fmt: skip
        expected.append(np.mean(values))
        found = report.classes[("liver", "spleen")[k]]
        assert (found.images, found.dsc) == (len(volumes), pytest.approx(np.mean(values)))
    assert report.mean.dsc == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_iou_is_not_below_what_the_dice_allows(name: str) -> None:
    shape = (4, 40, 40) if name == "guided" else (40, 40)
    report = report_of(name, pairs(shape))
    dsc, iou = report.mean.dsc, report.mean.iou
    assert dsc / (2 - dsc) <= iou <= dsc


def test_a_dice_and_an_iou_of_different_masks_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_latentseg.evaluation.protocols.iou", lambda a, b: 0.01)
    with pytest.raises(RuntimeError, match="cannot go with a mean IoU"):
        report_of("gms", pairs())


def test_the_soft_dice_of_gms_is_monai_s() -> None:
    from monai.losses import DiceLoss
    from torch import from_numpy

    rng = np.random.default_rng(1)
    masks = pairs()
    probabilities = [rng.random(t.shape).astype(np.float32) for _, t in masks]
    loss = [
        DiceLoss()(from_numpy(p)[None, None], from_numpy(t.astype(np.float32))[None, None])
        for p, (_, t) in zip(probabilities, masks, strict=True)
    ]
    expected = 1 - float(np.mean(loss))
    assert report_of("gms", masks, probabilities).soft_dsc == pytest.approx(expected, abs=1e-6)
    assert report_of("sdseg", masks, probabilities).soft_dsc is None
    assert soft_dice(np.zeros(4), np.zeros(4, bool)) == 1


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_the_paper_does_not_say_is_said(name: str) -> None:
    words = PROTOCOLS[name].conventions(224)
    assert {"protocol", "dsc", "iou", "hd95", "summary", "size", "unknown"} <= set(words)
    assert all(words.values())
    assert "224 x 224" in words["size"]


def test_wave_gms_scores_as_gms_and_others_are_refused() -> None:
    assert find_protocol("wave-gms") is PROTOCOLS["gms"]
    with pytest.raises(BadInput, match="protocol: 'sdsge' is not known; did you mean 'sdseg'"):
        find_protocol("sdsge")


@pytest.mark.parametrize(
    ("name", "planes", "is_volume", "why"),
    [
        ("gms", 20, True, "has 20 slices, and the protocol gms scores single images; use --protocol sdseg"),
        ("medseglatdiff", 2, True, "scores single images"),
        ("guided", 1, False, "is a single image, and the protocol guided scores volumes"),
    ],
)
def test_volumes_and_single_images_are_not_mixed(name: str, planes: int, is_volume: bool, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        PROTOCOLS[name].check_dimensions("a", planes, is_volume=is_volume)


@pytest.mark.parametrize(("name", "planes", "is_volume"), [("gms", 1, False), ("gms", 1, True),
                         ("sdseg", 1, False), ("sdseg", 9, True), ("guided", 9, True)])  # fmt: skip
def test_what_a_protocol_scores_passes(name: str, planes: int, is_volume: bool) -> None:
    PROTOCOLS[name].check_dimensions("a", planes, is_volume=is_volume)


def test_no_image_is_no_figure() -> None:
    with pytest.raises(BadInput, match="no image has a class to score"):
        report_of("guided", [empties()["both"]])
