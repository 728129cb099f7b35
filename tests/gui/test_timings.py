"""The estimate of a run's duration, from the file of earlier durations."""

from __future__ import annotations

import json

import pytest

from napari_latentseg.widgets._shared.timings import RunTimings


def test_a_slice_of_similar_size_has_the_same_duration(own_home):
    (own_home / "timings.json").write_text(json.dumps({"model cpu": {"10000": 0.5, "1000000": 8.0}}))
    timings = RunTimings()
    assert timings.estimate("model", "cpu", 12_000, 6) == pytest.approx(3.0)
    assert timings.estimate("model", "cpu", 900_000, 2) == pytest.approx(16.0)
    assert timings.estimate("model", "cpu", 100_000, 1) is None
    assert timings.estimate("model", "cuda", 10_000, 1) is None


@pytest.mark.parametrize("content", ["{", "[1]", '{"model cpu": {"48x56": 1}}', '{"model cpu": {"9": null}}'])
def test_a_damaged_file_counts_as_none(own_home, content):
    (own_home / "timings.json").write_text(content)
    assert RunTimings().estimate("model", "cpu", 10_000, 1) is None
