"""The examples in the docstrings of the data model give what they say."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

MODULES = (
    "core.classes",
    "core.embed",
    "core.frozen",
    "core.geometry",
    "core.labels",
    "core.postprocess",
    "core.record",
    "core.scan",
    "core.segmentation",
    "core.slices",
    "core.units",
    "io.registry",
)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_say_what_comes(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some examples write files
    result = doctest.testmod(import_module(f"napari_latentseg.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
