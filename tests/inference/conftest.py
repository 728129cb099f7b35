"""The tiny models that the tests of the predictor run with."""

from __future__ import annotations

import pytest

from napari_latentseg.models.folder import Model


@pytest.fixture(params=["whole", "tiles"])
def model(request: pytest.FixtureRequest, tiny_model: Model, tiny_tiles_model: Model) -> Model:
    return tiny_model if request.param == "whole" else tiny_tiles_model
