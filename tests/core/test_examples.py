"""The examples in the docstrings of the data model give what they say."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

EXAMPLES = {
    "core.classes": 4,
    "core.embed": 1,
    "core.frozen": 2,
    "core.geometry": 12,
    "core.labels": 2,
    "core.postprocess": 2,
    "core.record": 3,
    "core.scan": 8,
    "core.segmentation": 6,
    "core.slices": 4,
    "core.units": 3,
    "io.registry": 5,
}


@pytest.mark.parametrize(("module", "count"), EXAMPLES.items(), ids=EXAMPLES)
def test_the_examples_say_what_comes(module: str, count: int) -> None:
    result = doctest.testmod(import_module(f"napari_latentseg.{module}"))
    assert (result.failed, result.attempted) == (0, count)
