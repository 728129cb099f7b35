"""When the interval of a size is called calibrated, and what is said where it is not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.helpers.made import made

from napari_latentseg.core.fit import Fit
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.core.temperature import Temperature
from napari_latentseg.evaluation.calibration import VolumeInterval
from napari_latentseg.measure import interval_basis, sizes_note

THRESHOLD = 0.4


def result(spatial: tuple[int, ...] = (6, 8, 9), axes: str = "zyx", **record: Any) -> Segmentation:
    samples = np.random.default_rng(0).random((5, 1, *spatial))
    geometry = Geometry.from_spacing(axes, (1.0,) * len(axes), "mm")
    segmentation = made(samples, geometry, axes, threshold=record.pop("threshold", THRESHOLD))
    return replace(segmentation, record=segmentation.record.replace(**record))


def card(*, fit: object = None, **changes: Any) -> Any:
    fields = {"factors": {"lesion": 2.0}, "cases": 20, "samples": 5, "source": "augment", "data": "made",
              "threshold": THRESHOLD, "dimensions": 3, "precisions": ("float32",)}  # fmt: skip
    return SimpleNamespace(volume_interval=VolumeInterval(**(fields | changes)), fit=fit, temperature=None)


def test_a_result_made_as_in_the_calibration_is_calibrated():
    basis = interval_basis(result(), card())
    assert (basis.kind, basis.reasons) == ("calibrated", ())
    assert basis.describe() == "90 % intervals, calibrated on 20 images (see the model card)."


FOREIGN = Fit(state="foreign", reasons=("the image is MR, the model was trained on US",))
CANCELLED = {"complete": False, "planes_done": 4, "segmented_slices": ((1, 4),)}


@pytest.mark.parametrize(
    ("record", "of_card", "reason"),
    [
        ({"fit": FOREIGN}, {}, "not made for this image: the image is MR, the model was trained on US"),
        ({"fit": Fit(state="unusual", reasons=("very dark",))}, {}, "unusual for this model: very dark"),
        ({}, {"fit": object()}, "whether the image fits the model was not checked"),
        ({}, {"dimensions": 2}, "this is a volume, and the calibration used 2D images"),
        ({"plane": "coronal"}, {}, "the slices are coronal, not as acquired"),
        (
            {"slices": (1, 2), "planes_done": 2, "segmented_slices": ((1, 2),)},
            {},
            "only 2 of 6 slices were segmented",
        ),
        ({"slices": (1, 1), "planes_done": 1}, {}, "only 1 of 6 slices were segmented"),
        ({"box": (0, 0, 4, 4)}, {}, "only a box was segmented"),
        ({"complete": False, "samples_asked": 9}, {}, "the run was cancelled after 5 of 9 samples"),
        (
            {"samples_asked": 9, "tolerance": 0.1},
            {},
            "sampling stopped early, when the mask no longer changed",
        ),
        ({}, {"samples": 8}, "only 5 samples (calibration: 8)"),
        (
            {"source": "noise"},
            {},
            "the samples come from the random noise at the start of diffusion (calibration: flips,"
            " rotations and shifts of the image, undone in the prediction)",
        ),
        ({"precision": "bfloat16"}, {}, "computed in bfloat16 (calibration: float32)"),
        ({"threshold": 0.46}, {}, "the threshold is 0.46 (calibration: 0.40)"),
        ({"threshold": 0.34}, {}, "the threshold is 0.34 (calibration: 0.40)"),
        ({"volumes_cleaned": True}, {}, "the samples were post-processed"),
        (
            {"temperature": Temperature(value=1.5)},
            {},
            "the mean probability was computed with another temperature than the calibration used",
        ),
        ({}, {"level": 0.8}, "the model was not calibrated"),
    ],
)
def test_what_differs_from_the_calibration_is_said(record, of_card, reason):
    basis = interval_basis(result(**record), card(**of_card))
    assert (basis.kind, basis.reasons) == ("samples", (reason,))
    assert basis.describe() == f"90 % intervals of 5 samples, not calibrated: {reason}."


@pytest.mark.parametrize(
    ("fit", "reason"),
    [
        (FOREIGN, "the model was not made for the image"),
        (Fit(state="unusual", reasons=("very dark",)), "the image is unusual for the model"),
    ],
)
def test_why_the_image_does_not_fit_may_stand_elsewhere(fit: Fit, reason: str):
    note = sizes_note(result(fit=fit, threshold=0.46), card(), with_fit_reasons=False)
    assert note == (
        f"90 % intervals of 5 samples, not calibrated: {reason}; the threshold is 0.46 (calibration: 0.40)."
    )
    assert fit.reasons[0] in sizes_note(result(fit=fit), card())


@pytest.mark.parametrize(
    ("record", "of_card"),
    [
        ({"fit": Fit(state="fits")}, {"fit": object()}),
        ({"threshold": 0.45}, {}),
        ({"threshold": 0.35}, {}),
        ({"precision": "bfloat16"}, {"precisions": ("bfloat16", "float32")}),
        ({"precision": "bfloat16"}, {"precisions": ()}),  # a card of an earlier version
        ({"slices": (0, 5)}, {"dimensions": None}),
        ({}, {"samples": 3}),
    ],
)
def test_what_does_not_matter_leaves_it_calibrated(record, of_card):
    assert interval_basis(result(**record), card(**of_card)).kind == "calibrated"


def test_the_threshold_is_compared_as_that_of_the_samples():
    warm = Temperature(value=3)  # moves a threshold nearer to a half, and so one to another
    calibrated = warm.calibrated_threshold(THRESHOLD)
    of_card = card(threshold=calibrated)
    of_card.temperature = warm
    for raw, kind in ((0.45, "calibrated"), (0.47, "samples")):
        threshold = warm.calibrated_threshold(raw)
        assert abs(threshold - calibrated) < 0.03
        assert interval_basis(result(threshold=threshold, temperature=warm), of_card).kind == kind


@pytest.mark.parametrize(
    ("spatial", "axes", "kind"),
    [
        ((8, 9), "yx", "calibrated"),
        ((1, 8, 9), "zyx", "calibrated"),  # an ultrasound image as DICOM has one slice
        ((3, 8, 9), "tyx", "calibrated"),
        ((3, 8, 9), "zyx", "samples"),
        ((2, 3, 8, 9), "tzyx", "samples"),
    ],
)
def test_a_volume_is_not_measured_by_the_calibration_of_images(spatial, axes, kind):
    assert interval_basis(result(spatial, axes), card(dimensions=2)).kind == kind


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"source": "none", "samples": 1}, "one prediction has no samples"),
        ({"samples": 1}, "1 sample is too few, 3 or more are needed"),
        ({"samples": 2}, "2 samples are too few, 3 or more are needed"),
        (CANCELLED, "the run was cancelled, 2 of 6 slices were not segmented"),
        (CANCELLED | {"segmented_slices": None}, "the run was cancelled, 2 of 6 slices were not segmented"),
    ],
)
def test_there_is_no_interval_without_samples_or_of_a_part_nobody_asked_for(record, reason):
    basis = interval_basis(result(**record), card())
    assert (basis.kind, basis.reason) == ("none", reason)
    assert basis.describe() == f"No intervals: {reason}."


def test_samples_that_were_not_kept_give_no_interval_at_another_threshold():
    moved = replace(result(), sample_maps=None).with_threshold(0.41)
    assert interval_basis(moved, card()).reason.startswith("the samples were not kept")


def test_what_was_not_segmented_is_said_with_the_reason():
    note = sizes_note(result(segmented_slices=((1, 4),), planes_done=4), None)
    assert note.endswith(". 2 of 6 slices were not segmented, so the sizes are only of the rest.")


def test_all_reasons_are_said():
    basis = interval_basis(result(box=(0, 0, 4, 4), threshold=0.9), card(samples=8))
    assert basis.reason == (
        "only a box was segmented; only 5 samples (calibration: 8); the threshold is 0.90 (calibration: 0.40)"
    )


def test_a_model_that_is_not_there_and_one_that_is_not_calibrated():
    assert interval_basis(result(), None).reasons == ("the model is not on this machine",)
    uncalibrated = SimpleNamespace(volume_interval=None)
    assert interval_basis(result(), uncalibrated).reasons == ("the model was not calibrated",)
