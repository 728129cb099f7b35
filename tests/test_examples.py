"""The examples of docstrings give what they say; those of public names are run by test_public_names.py."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import napari_latentseg

ROOT = Path(napari_latentseg.__file__).parent
# The examples of api/ need the models and folders that test_public_names.py prepares; Qt has none.
WITHOUT = ("api", "widgets")
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] not in WITHOUT and "    >>> " in path.read_text("utf-8")
)


def test_there_are_examples() -> None:
    assert {"core.scan", "data.resize", "evaluation.metrics"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_say_what_comes(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some examples write files
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(import_module(f"napari_latentseg.{module}"), optionflags=flags)
    assert result.attempted > 0
    assert result.failed == 0
