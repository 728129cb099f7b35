"""A network whose values overflow finds nothing, which must not look like an image without findings."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.hostile_models import with_overflowing_weights
from tests.helpers.predicted import picture, predicted, scan_of

from napari_latentseg.errors import BadInput
from napari_latentseg.models.store import load_model


def test_values_that_are_not_finite_are_an_error(tiny_model_folder: Path, tmp_path: Path) -> None:
    model = load_model(with_overflowing_weights(tiny_model_folder, tmp_path / "huge"))
    with pytest.raises(BadInput, match=r"model 'tiny-whole': gives values that are not finite .*install it"):
        predicted(model, scan_of(picture(24, 24)), samples=1)
