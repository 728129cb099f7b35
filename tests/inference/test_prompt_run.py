"""Segmenting what was pointed at: one slice, or from there through a volume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers.pointed import answer_bright_regions

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.prompts import Prompts
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.prompt_run import PromptRun
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import load_model
from napari_latentseg.utils.device import resolve_compute


@pytest.fixture(scope="module")
def model(tiny_prompted_folder: Path) -> Model:
    return load_model(tiny_prompted_folder)


def volume(radii: list[int], brightness: dict[int, int] | None = None) -> Scan:
    """Discs around (20, 30), one a slice, and one square in the corner of each slice."""
    rows, columns = np.mgrid[:48, :64]
    array = np.zeros((len(radii), 48, 64), np.uint8)
    for z, radius in enumerate(radii):
        array[z, 40:46, 2:8] = 255
        if radius:
            disc = (rows - 20) ** 2 + (columns - 30) ** 2 <= radius**2
            array[z][disc] = (brightness or {}).get(z, 255)
    return Scan(array, "zyx", Geometry.from_spacing("zyx", (2.0, 1.0, 1.0)))


def start(model: Model, scan: Scan, prompts: Prompts, *, through: bool = False, **settings: Any) -> PromptRun:
    return PromptRun(
        model, resolve_compute("cpu", "float32"), scan, prompts,
        InferenceSettings.for_model(model.card, **settings), through=through,
    )  # fmt: skip


def test_one_slice_is_answered_and_the_rest_is_not_known(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_bright_regions(monkeypatch)
    scan = volume([8, 9, 10, 9])
    result = start(model, scan, Prompts(positive=[(2, 20, 30)]), samples=4).finish()
    expected = np.zeros(scan.array.shape, bool)
    expected[2, :36] = scan.array[2, :36] > 0
    np.testing.assert_array_equal(result.mask > 0, expected)
    record = result.record
    assert (record.source, record.samples, record.planes_done, record.complete) == ("readings", 4, 1, True)
    assert record.segmented_slices == ((2, 2),)
    assert record.prompts == Prompts(positive=[(2, 20, 30)])
    assert not record.through
    assert result.variance is not None
    assert result.geometry == scan.geometry
    assert record.volumes["structure"] == pytest.approx([2.0 * expected.sum()] * 4)


def test_it_is_carried_on_until_the_structure_ends(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer_bright_regions(monkeypatch)
    scan = volume([0, 5, 8, 9, 8, 6, 0, 7])
    run = start(model, scan, Prompts(positive=[(3, 20, 30)]), through=True)
    result = run.finish()
    np.testing.assert_array_equal(result.mask[1:6, :36] > 0, scan.array[1:6, :36] > 0)
    assert not result.mask[[0, 6, 7]].any()
    assert run.carried_on is not None
    assert (run.carried_on.first, run.carried_on.last) == (1, 5)
    assert run.carried_on.reasons == ("the structure ends", "the structure ends")
    assert any("carried on to slices 2 to 6" in note for note in result.record.input.notes)
    assert result.record.segmented_slices == ((1, 5),)
    assert result.record.complete
    acquired = [prompts for prompts in asked if not prompts.negative]  # those across have points beside it
    assert len(acquired) == 8  # five that are kept, one beyond each end, and how sure it is of the first mask


def test_the_ends_of_the_volume_end_it(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_bright_regions(monkeypatch)
    run = start(model, volume([8, 8, 8]), Prompts(positive=[(0, 20, 30)]), through=True)
    run.finish()
    assert run.carried_on is not None
    assert (run.carried_on.first, run.carried_on.last) == (0, 2)
    assert run.carried_on.reasons == ("the volume ends", "the volume ends")


@pytest.mark.parametrize(
    ("radii", "brightness", "reason"),
    [
        ([8, 8, 2], {}, "the answer moves away from the one before"),
        ([8, 8, 8], {2: 140}, "the model is much less sure than on the first slice"),
    ],
)
def test_it_stops_where_it_cannot_be_trusted(
    model: Model,
    radii: list[int],
    brightness: dict[int, int],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer_bright_regions(monkeypatch)
    run = start(model, volume(radii, brightness), Prompts(positive=[(0, 20, 30)]), through=True)
    assert not run.finish().mask[2].any()
    assert run.carried_on is not None
    assert run.carried_on.reasons[1] == reason


def test_points_outside_stay_outside_in_the_next_slice(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer_bright_regions(monkeypatch)
    prompts = Prompts(positive=[(0, 20, 30)], negative=[(0, 43, 5)])
    start(model, volume([8, 8]), prompts, through=True).finish()
    assert [prompts.negative for prompts in asked] == [((43.0, 5.0),)] * 3


def test_slices_that_are_pointed_at_are_anchors(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer_bright_regions(monkeypatch)
    scan = volume([0, 6, 8, 9, 10, 9, 8, 0])
    prompts = Prompts(positive=[(2, 20, 30), (5, 19, 30)], negative=[(5, 43, 5)])
    run = start(model, scan, prompts, through=True, samples=3)
    assert [step.plane for step in run] == [2, 5, 1, 3, 4, 6]
    assert asked[:2] == [
        Prompts(positive=[(20, 30)]), Prompts(positive=[(19, 30)], negative=[(43, 5)]),
    ]  # fmt: skip
    result = run.result()
    assert result is not None
    shown = result.mask[:, :36] > 0
    true = scan.array[:, :36] > 0
    for plane in (2, 5):
        np.testing.assert_array_equal(shown[plane], true[plane])
    for plane in (1, 3, 4, 6):
        assert (shown[plane] != true[plane]).sum() < 0.1 * true[plane].sum()
    assert not shown[[0, 7]].any()
    assert run.carried_on is not None
    assert (run.carried_on.first, run.carried_on.last) == (1, 6)
    assert run.carried_on.reasons == ("the structure ends", "the structure ends")
    assert any("pointed at on 2 slices" in note for note in result.record.input.notes)
    assert result.record.prompts == prompts
    assert result.record.segmented_slices == ((1, 6),)


def test_a_slice_on_which_nothing_is_found_is_no_anchor(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_bright_regions(monkeypatch)
    prompts = Prompts(positive=[(1, 20, 30), (2, 30, 60)])  # the second is in the dark
    result = start(model, volume([8, 8, 8, 8]), prompts, through=True, samples=3).finish()
    assert result.record.samples == 3
    assert result.mask[3].any()
    assert not result.mask[2].any()


def test_several_slices_need_through(model: Model) -> None:
    with pytest.raises(BadInput, match="are on several slices"):
        start(model, volume([8, 8, 8]), Prompts(positive=[(0, 20, 30), (2, 20, 30)]))


def test_in_a_crop_box_points_stay_where_they_are_in_the_image(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answer_bright_regions(monkeypatch)
    result = start(model, volume([8]), Prompts(positive=[(0, 20, 30)]), box=(4, 10, 36, 50)).finish()
    assert asked[0].positive == ((16.0, 20.0),)
    assert result.mask[0, 20, 30]
    assert result.mask.shape == (1, 48, 64)


def test_random_weights_give_probabilities_of_the_image_s_shape(model: Model) -> None:
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    scan = Scan(image, "yxc", Geometry.from_spacing("yx", (0.5, 0.5)))
    result = start(model, scan, Prompts(positive=[(20, 30)]), samples=5).finish()
    assert result.mean.shape == (1, 50, 70)
    assert 0 <= result.mean.min() <= result.mean.max() <= 1
    assert len(result.record.volumes["structure"]) == 5


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        (Prompts(positive=[(20, 30)]), {}, "a volume, and need a slice"),
        (Prompts(positive=[(9, 20, 30)]), {}, "slice 9, and the volume has slices 0 to 1"),
        (Prompts(positive=[(0, 20, 300)]), {}, "outside the image"),
        (Prompts(positive=[(0, 20, 30), (1, 0, 99)]), {"through": True}, "outside the image"),
        (Prompts(positive=[(0, 20, 30)]), {"samples": 65}, "1 to 64"),
        (Prompts(positive=[(0, 2, 2)]), {"box": (4, 10, 36, 50)}, "outside the image"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(
    model: Model, prompts: Prompts, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        start(model, volume([8, 8]), prompts, **options)


def test_a_single_image_cannot_be_carried_on(model: Model) -> None:
    scan = Scan(np.zeros((48, 64), np.uint8), "yx", Geometry.from_spacing("yx"))
    with pytest.raises(BadInput, match="needs a volume"):
        start(model, scan, Prompts(positive=[(20, 30)]), through=True)


def test_a_time_series_is_refused(model: Model) -> None:
    scan = Scan(np.zeros((3, 48, 64), np.uint8), "tyx", Geometry.from_spacing("tyx"))
    with pytest.raises(BadInput, match="time series"):
        start(model, scan, Prompts(positive=[(0, 20, 30)]))


def test_a_model_that_learned_from_several_classes_answers_with_one(
    make_tiny_model: Callable[..., Path],
) -> None:
    folder = make_tiny_model(
        "tiny-prompted-3",
        method="prompted",
        settings={"width": 16, "prompt_channels": 16, "classes": 3},
        sources=["readings"],
    )
    assert load_model(folder).card.takes_prompts


def test_a_run_that_was_stopped_keeps_its_slices_and_adds_none_twice(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_bright_regions(monkeypatch)
    run = start(model, volume([8, 8, 8, 8]), Prompts(positive=[(1, 20, 30)]), through=True, samples=3)
    steps = iter(run)
    next(steps)
    next(steps)
    steps.close()
    assert list(run) == []
    result = run.result()
    assert result is not None
    assert (result.record.samples, result.record.planes_done) == (3, 2)
    assert result.record.seconds >= 0
