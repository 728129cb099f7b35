"""Answers to the first click: the scale at which the readings agree is looked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.inference.prompt_session import PromptSession, stages_of
from napari_latentseg.inference.prompt_view import View
from napari_latentseg.models.store import load_model
from napari_latentseg.utils.device import resolve_compute

SIZE = 512  # of the slice


def answering(folder: Path, monkeypatch: pytest.MonkeyPatch, agreed_side: int) -> PromptSession:
    """A session of two readings that mark discs of one size in a view of one side, and of two elsewhere."""
    model, compute = load_model(folder), resolve_compute("cpu", "float32")
    session = PromptSession(model, np.zeros((3, SIZE, SIZE), np.float32), compute)
    shown: list[View] = []
    encode = session._encode

    def encoded(keys: Sequence[tuple[View, int]]) -> Tensor:
        shown[:] = [view for view, _ in keys]
        return encode(keys)

    def drawn(conditioning: Tensor, maps: Tensor, readings: Tensor) -> Tensor:
        size = maps.shape[-1]
        rows, columns = np.mgrid[:size, :size] / size - 0.5
        is_agreed = np.array([abs(view.side - agreed_side) < 3 for view in shown])
        radii = 0.2 + np.where(is_agreed, 0, 0.03) * readings.numpy()
        masks = np.hypot(rows, columns) < radii[:, None, None]
        return torch.from_numpy(masks.astype(np.float32))[:, None]

    monkeypatch.setattr(session, "_encode", encoded)
    monkeypatch.setattr(model.method, "draw", drawn)
    return session


@pytest.mark.parametrize("side", [512, 228, 102, 45])
def test_the_first_click_is_answered_at_the_scale_at_which_the_readings_agree(
    tiny_prompted_folder: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    session = answering(tiny_prompted_folder, monkeypatch, side)
    answer = session.answer(Prompts(positive=[(256, 256)]), 4)
    assert answer.view.side == pytest.approx(side, abs=2)
    np.testing.assert_array_equal(answer.samples[0], answer.samples[1])


@pytest.mark.parametrize("side", [512, 228, 102, 45])
def test_the_first_click_is_answered_at_the_scale_of_the_best_predicted_quality(
    make_tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    """Also where the readings agree more at another scale."""
    folder = make_tiny_model(
        "tiny-judging",
        method="prompted",
        settings={"width": 16, "prompt_channels": 16, "readings": 2, "quality": True},
        classes=[{"label": 1, "name": "structure", "color": "#ff8c00"}],
        sources=["readings"],
    )
    session = answering(folder, monkeypatch, agreed_side=side // 2)
    views = [512, 228, 102, 45, 24]

    def predicted(conditioning: Tensor, readings: Tensor, maps: Tensor) -> Tensor:
        assert readings.shape[1] == 2
        assert len(conditioning) == len(readings) == len(maps)
        return torch.tensor([-abs(view - side) / 1000 for view in views[: len(maps)]])

    monkeypatch.setattr(session._method, "predict_quality", predicted)
    assert session.answer(Prompts(positive=[(256, 256)]), 4).view.side == pytest.approx(side, abs=2)


def test_one_of_eight_samples_of_a_first_click_is_of_another_scale(
    tiny_prompted_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = answering(tiny_prompted_folder, monkeypatch, 102)
    areas = session.answer(Prompts(positive=[(256, 256)]), 9).samples.sum(axis=(1, 2))
    others = np.delete(areas, 7)
    assert np.ptp(others) < 0.05 * others.mean()
    assert not 0.5 < areas[7] / others.mean() < 2
    boxed = session.answer(Prompts(boxes=[(206, 206, 306, 306)]), 8).samples.sum(axis=(1, 2))
    assert boxed.max() < 2 * boxed.min()  # a box says the scale


def test_a_box_says_the_scale_itself(tiny_prompted_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = answering(tiny_prompted_folder, monkeypatch, 45)
    assert session.answer(Prompts(boxes=[(206, 206, 306, 306)]), 4).view.side == 200


@pytest.mark.parametrize("size", [30, 44, 110, 150])
def test_of_two_structures_that_of_the_given_size_is_answered(
    tiny_prompted_folder: Path, monkeypatch: pytest.MonkeyPatch, size: float
) -> None:
    """One reading marks a disc 40 pixels wide, the other one around it of 120."""
    model, compute = load_model(tiny_prompted_folder), resolve_compute("cpu", "float32")
    session = PromptSession(model, np.zeros((3, SIZE, SIZE), np.float32), compute)
    shown: list[View] = []
    encode = session._encode

    def encoded(keys: Sequence[tuple[View, int]]) -> Tensor:
        shown[:] = [view for view, _ in keys]
        return encode(keys)

    def drawn(conditioning: Tensor, maps: Tensor, readings: Tensor) -> Tensor:
        side = maps.shape[-1]
        rows, columns = np.mgrid[:side, :side] / side - 0.5
        radii = np.array([20, 60])[readings.numpy()] / [view.side for view in shown]
        return torch.from_numpy((np.hypot(rows, columns) < radii[:, None, None]).astype(np.float32))[:, None]

    monkeypatch.setattr(session, "_encode", encoded)
    monkeypatch.setattr(model.method, "draw", drawn)
    answer = session.answer(Prompts(positive=[(256, 256)], size=size), 8)
    widths = (answer.samples > 0.5).any(axis=1).sum(axis=1)
    np.testing.assert_allclose(widths, 40 if size < 70 else 120, rtol=0.2)
    assert size < answer.view.side < 8 * size


def test_where_nothing_has_the_size_the_nearest_is_answered(
    tiny_prompted_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = answering(tiny_prompted_folder, monkeypatch, 102)
    monkeypatch.setattr(
        session._method,
        "draw",
        lambda conditioning, maps, readings: torch.zeros(len(maps), 1, *maps.shape[-2:]),
    )
    assert not session.answer(Prompts(positive=[(256, 256)], size=20), 5).samples.any()
    assert session.answer(Prompts(positive=[(256, 256)], size=20), 5).samples.shape == (5, SIZE, SIZE)


def test_points_are_answered_in_stages_those_inside_first() -> None:
    inside, outside = [(10, 10), (12, 30)], [(40, 40)]
    assert stages_of(Prompts(positive=inside, negative=outside)) == [
        Prompts(positive=inside[:1]),
        Prompts(positive=inside),
        Prompts(positive=inside, negative=outside),
    ]
    assert len(stages_of(Prompts(positive=[*inside, *inside], negative=outside * 2))) == 3
    box = (5, 5, 40, 50)
    boxed = Prompts(boxes=[box], negative=outside)
    assert stages_of(boxed) == [Prompts(boxes=[box]), boxed]
    scribble = Prompts(positive=[(4, x) for x in range(40)])
    stages = stages_of(scribble)
    assert (len(stages), len(stages[0].positive), stages[-1]) == (6, 1, scribble)


def test_points_are_answered_in_the_order_in_which_they_were_given() -> None:
    inside, outside = [(10, 10), (12, 30)], [(40, 40)]
    assert stages_of(Prompts(positive=inside, negative=outside, order="+-+")) == [
        Prompts(positive=inside[:1]),
        Prompts(positive=inside[:1], negative=outside),
        Prompts(positive=inside, negative=outside, order="+-+"),
    ]
    # nothing is answered before a point inside
    stages = stages_of(Prompts(positive=inside, negative=outside, order="-++"))
    assert [stage.order for stage in stages] == ["-+", "-++"]
    boxed = Prompts(boxes=[(5, 5, 40, 50)], positive=inside, negative=outside, order="-++")
    assert [stage.points for stage in stages_of(boxed)] == [boxed.points[:n] for n in range(4)]


def test_clicks_one_by_one_are_answered_as_all_at_once(
    tiny_prompted_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, compute = load_model(tiny_prompted_folder), resolve_compute("cpu", "float32")
    plane = np.random.default_rng(0).random((3, 70, 90)).astype(np.float32)
    drawn: list[int] = []
    draw = model.method.draw
    monkeypatch.setattr(model.method, "draw", lambda c, m, r: drawn.append(len(m)) or draw(c, m, r))
    whole = Prompts(positive=[(30, 40), (36, 52)], negative=[(50, 20)], order="+-+")
    at_once = PromptSession(model, plane, compute).answer(whole, 3)
    all_draws = sum(drawn)

    session = PromptSession(model, plane, compute)
    session.answer(Prompts(positive=whole.positive[:1]), 3)
    session.answer(Prompts(positive=whole.positive[:1], negative=whole.negative), 3)
    mistaken = whole.replace(negative=(*whole.negative, (60, 60)), order="+-+-")
    session.answer(mistaken, 3)  # a click that is taken back
    drawn.clear()
    # batches of other sizes round differently
    np.testing.assert_allclose(session.answer(whole, 3).samples, at_once.samples, atol=1e-5)
    assert 0 < sum(drawn) < all_draws / 2  # what was answered before is known
    drawn.clear()
    further = whole.replace(negative=(*whole.negative, (8, 70)), order="+-+-")
    after_three = session.answer(further, 3).samples
    assert 0 < sum(drawn) <= 3 + 3  # zooming in, and the samples
    at_once = PromptSession(model, plane, compute).answer(further, 3)
    np.testing.assert_allclose(after_three, at_once.samples, atol=1e-5)
