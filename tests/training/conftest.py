"""What the tests of stopped trainings share: a toy method by its name, and a small data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.helpers.toy_method import Toy

from napari_latentseg.methods import registry


@pytest.fixture
def toy_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the toy method under the name `toy`."""
    monkeypatch.setitem(registry.METHODS, "toy", Toy)


@pytest.fixture(scope="module")
def ellipses_folder(write_ellipses: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ellipses(tmp_path_factory.mktemp("ellipses") / "data", count=5)
