"""The threshold of a fine-tuned model changes only where images ask for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_latentseg.finetuning import job as job_module
from napari_latentseg.finetuning.job import FineTuneJob
from napari_latentseg.finetuning.threshold_choice import best_threshold
from napari_latentseg.models.card import read_card

THRESHOLDS = [0.3, 0.4, 0.5, 0.6]


@pytest.mark.parametrize(
    ("validation", "training", "replay", "expected"),
    [
        ([0.80, 0.78, 0.70, 0.60], [0.81, 0.80, 0.70, 0.60], None, 0.3),
        ([0.70, 0.70, 0.70, 0.75], [0.70, 0.70, 0.70, 0.75], None, 0.6),
        ([0.80, 0.70, 0.70, 0.60], [0.69, 0.70, 0.70, 0.60], None, 0.5),  # training disagrees
        ([0.69, 0.70, 0.70, 0.60], [0.80, 0.70, 0.70, 0.60], None, 0.5),  # validation disagrees
        ([0.703, 0.70, 0.70, 0.60], [0.703, 0.70, 0.70, 0.60], None, 0.5),  # too little to be sure of
        ([0.80, 0.76, 0.70, 0.60], [0.80, 0.76, 0.70, 0.60], [0.7, 0.796, 0.8, 0.8], 0.4),  # its own images
    ],
)
def test_it_changes_where_both_parts_gain_and_replay_does_not_lose(
    validation: list[float], training: list[float], replay: list[float] | None, expected: float
) -> None:
    own = None if replay is None else np.array(replay)
    chosen = best_threshold(THRESHOLDS, 0.5, np.array(validation), np.array(training), own, 0.795)
    assert chosen == expected


def test_the_candidate_has_the_threshold_and_the_comparison_says_so(
    taught_base: Path,
    tiny_codec_folder: Path,
    write_ellipses: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "home"
    shutil.copytree(tiny_codec_folder, home / "codecs" / tiny_codec_folder.name)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(home))
    monkeypatch.setattr(job_module, "choose_threshold", lambda tuner: 0.3)
    data = write_ellipses(tmp_path / "new", 6, seed=5)
    job = FineTuneJob(taught_base, data, tmp_path / "out", name="mine", steps=4, device="cpu")
    events = [event.as_dict() for event in job]
    card = read_card(tmp_path / "out")
    assert card.raw_threshold == pytest.approx(0.3, abs=1e-5)
    assert [event["threshold"] for event in events if event["event"] == "chosen"] == [0.3]
    notes = json.loads((tmp_path / "out" / "comparison.json").read_text())["notes"]
    assert any("its threshold is 0.30 in place of 0.50" in note for note in notes)
