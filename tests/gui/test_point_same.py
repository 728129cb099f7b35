"""The same clicks give the same mask in the window, on the command line and from Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import torch.nn.functional as F
from qtpy.QtCore import Qt
from tests.helpers.pointing_person import MODEL, PointingPerson, widget_that_takes_clicks

from napari_latentseg import Prompts
from napari_latentseg import segment as segment_scan
from napari_latentseg.cli import main
from napari_latentseg.methods.prompted import PromptedMapping


def grown(method, conditioning, maps, readings):
    """An answer that grows from the one before, so that it tells what that was."""
    positive, negative, box, previous = F.max_pool2d(maps, 15, stride=1, padding=7).unbind(1)
    probability = 0.6 * positive + 0.6 * box + 0.7 * previous - negative + 0.01 * readings[:, None, None]
    return probability.clamp(0, 1)[:, None]


@pytest.fixture
def person(viewer, qtbot, make_tiny_model, monkeypatch, tmp_path):
    monkeypatch.setattr(PromptedMapping, "draw", grown)
    widget = widget_that_takes_clicks(viewer, make_tiny_model, monkeypatch, tmp_path)
    return PointingPerson(widget, viewer, qtbot)


def test_three_clicks_give_one_mask_everywhere(person, tmp_path):
    image = person.open((96, 128), (np.random.default_rng(0).random((96, 128)) * 255).astype(np.uint8))
    person.click(40, 50)
    person.click(44, 64, modifier=Qt.KeyboardModifier.ShiftModifier)
    two_clicks = person.layer("answer preview").data.copy()
    person.click(52, 48)
    three_clicks = person.layer("answer preview").data.copy()
    assert (three_clicks != two_clicks).sum() > 50
    person.click(20, 20)  # a mistake
    assert (person.layer("answer preview").data != three_clicks).sum() > 50
    person.key(Qt.Key.Key_Z)
    np.testing.assert_array_equal(person.layer("answer preview").data, three_clicks)

    pending = person.pointing.pending
    given = pending.pointed.prompts()
    assert (len(given.positive), len(given.negative), given.order) == (2, 1, "+-+")
    samples = person.pointing.samples
    result = segment_scan(image.data, MODEL, prompts=given, samples=samples)
    np.testing.assert_allclose(result.mean[0], pending.answered.answer.mean, atol=1e-6)
    np.testing.assert_array_equal(result.mask > 0, three_clicks > 0)

    tifffile.imwrite(tmp_path / "scan.tif", image.data)
    options = [("--point" if is_inside else "--not", point) for point, is_inside in given.points]
    arguments = [part for name, (y, x) in options for part in (name, f"{y},{x}")]
    command = ["segment", tmp_path / "scan.tif", "-m", MODEL, "-o", tmp_path / "out", "-n", samples]
    assert main([str(part) for part in (*command, *arguments)]) == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "scan_mask.tif") > 0, three_clicks > 0)
    record = json.loads((tmp_path / "out" / "scan_run.json").read_text())
    again = Prompts.model_validate(record["prompts"])
    np.testing.assert_array_equal(
        segment_scan(image.data, MODEL, prompts=again, samples=samples).mask > 0, three_clicks > 0
    )
