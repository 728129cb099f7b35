"""Images that were encoded before: a second run on the same image does not encode it again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.engines.base import Engine

if TYPE_CHECKING:
    from napari_latentseg.methods.noise import Noise

__all__ = ["EncodingCache", "RememberingEngine"]

# 800 tiles of 192 x 192 pixels with the 32 channels of the embedded codec: some images with all their
# samples, or a small volume
_MAX_BYTES = 64 * 2**20


class EncodingCache:
    """The conditioning of images, by a hash of their pixels and of the model; the oldest are forgotten.

    Parameters
    ----------
    max_bytes
        Limit in bytes for all of them, as float32.
    """

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[str, bytes], tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, model: str, digest: bytes) -> Any:
        """The conditioning of an image; None where it is not known."""
        with self._lock:
            entry = self._kept.get((model, digest))
            if entry is None:
                return None
            self._kept.move_to_end((model, digest))
            return entry[0]

    def add(self, model: str, digest: bytes, conditioning: Any) -> None:
        """Remember the conditioning of an image, an array or tensor."""
        size = 4 * int(np.prod(conditioning.shape))
        with self._lock:
            if size > self._max_bytes or (model, digest) in self._kept:
                return
            self._kept[model, digest] = (conditioning, size)
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed


_shared = EncodingCache()


class RememberingEngine:
    """An engine that does not encode an image again that it knows; see `Engine`.

    Parameters
    ----------
    engine
        What computes.
    model
        A hash of the weights that encode, of the engine and of the precision.
    cache
        Where encodings are remembered; that of this process where not given.
    """

    def __init__(self, engine: Engine, model: str, cache: EncodingCache | None = None) -> None:
        self.name = engine.name
        self.downsampling_factor = engine.downsampling_factor
        self.size_multiple = engine.size_multiple
        self._engine = engine
        self._model = model
        self._cache = _shared if cache is None else cache

    def activate(self) -> None:
        self._engine.activate()

    def uses_noise(self, source: str) -> bool:
        return self._engine.uses_noise(source)

    def encode(self, images: NDArray[np.float32]) -> list[Any]:
        digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
        known = [self._cache.get(self._model, digest) for digest in digests]
        unknown = [i for i, conditioning in enumerate(known) if conditioning is None]
        if unknown:
            is_all = len(unknown) == len(images)
            for i, conditioning in zip(
                unknown, self._engine.encode(images if is_all else images[unknown]), strict=True
            ):
                known[i] = conditioning
                self._cache.add(self._model, digests[i], conditioning)
        return known

    def as_array(self, conditioning: Any) -> NDArray[np.float32]:
        return self._engine.as_array(conditioning)

    def sample(
        self, conditioning: Sequence[Any], noise: Noise | None = None, classes: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        return self._engine.sample(conditioning, noise, classes)
