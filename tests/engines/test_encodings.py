"""What was encoded before is not encoded again, within a bound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_latentseg.engines.encodings import EncodingCache, RememberingEngine
from napari_latentseg.engines.torch_engine import TorchEngine
from napari_latentseg.methods.base import Method
from napari_latentseg.utils.device import Compute


class Counted(TorchEngine):
    """Counts the images that it encodes."""

    encoded = 0

    def encode(self, images: np.ndarray) -> list:
        self.encoded += len(images)
        return super().encode(images)


@pytest.fixture
def engine(tiny_method: Callable[[str], Method]) -> Counted:
    return Counted(tiny_method("gms"), Compute("cpu", "float32"))


def test_an_image_is_encoded_once(engine: Counted) -> None:
    cache = EncodingCache()
    images = np.random.default_rng(0).random((3, 3, 48, 48), np.float32)
    first = RememberingEngine(engine, "model", cache)
    expected = first.encode(images)
    again = RememberingEngine(engine, "model", cache).encode(images[[2, 0]])
    assert engine.encoded == 3
    assert again[0] is expected[2]
    assert again[1] is expected[0]
    images[1] += 0.01
    mixed = first.encode(images)
    assert engine.encoded == 4
    assert mixed[0] is expected[0]
    np.testing.assert_allclose(
        engine.as_array(mixed[1]), engine.as_array(engine.encode(images[[1]])[0]), atol=1e-5
    )


def test_another_model_has_its_own(engine: Counted) -> None:
    cache = EncodingCache()
    images = np.zeros((1, 3, 48, 48), np.float32)
    for model in ("one", "other"):
        RememberingEngine(engine, model, cache).encode(images)
    assert engine.encoded == 2


def test_the_oldest_are_forgotten() -> None:
    one = np.zeros((4, 8, 8), np.float32)
    cache = EncodingCache(max_bytes=3 * one.nbytes)
    for i in range(3):
        cache.add("model", bytes([i]), one)
    cache.get("model", bytes([0]))  # used last
    cache.add("model", bytes([3]), one)
    assert [cache.get("model", bytes([i])) is None for i in range(4)] == [False, True, False, False]
    cache.add("model", bytes([9]), np.zeros((4, 80, 80), np.float32))  # larger than all there is
    assert len(cache) == 3
