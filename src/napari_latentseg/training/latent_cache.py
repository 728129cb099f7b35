"""A codec that computes the latents of an image once, for trainings in which images repeat."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from napari_latentseg.codecs.base import Codec
from napari_latentseg.methods.base import Method

__all__ = ["CachingCodec", "cached_latents"]


class CachingCodec(Codec):
    """A frozen codec that encodes each image once; images are recognised by their content.

    Parameters
    ----------
    codec
        The codec that encodes.
    """

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec
        self.kind, self.channels, self.downsampling_factor = (
            codec.kind,
            codec.channels,
            codec.downsampling_factor,
        )
        self.scale = getattr(codec, "scale", 1.0)
        self.latents: dict[tuple[str, bytes], Tensor | None] = {}

    def encode(self, images: Tensor) -> Tensor:
        return self._stacked_rows("encode", images, self.codec.encode)

    def encode_mask(self, masks: Tensor) -> Tensor:
        return self._stacked_rows("mask", masks, self.codec.encode_mask)

    def posterior_std(self, images: Tensor) -> Tensor | None:
        stds = self._cached_rows("std", images, self.codec.posterior_std)
        return (
            None
            if any(row is None for row in stds)
            else torch.stack([row for row in stds if row is not None])
        )

    def decode(self, latents: Tensor) -> Tensor:
        return self.codec.decode(latents)

    def _stacked_rows(self, kind: str, x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.stack([row for row in self._cached_rows(kind, x, compute) if row is not None])

    def _cached_rows(
        self, kind: str, x: Tensor, compute: Callable[[Tensor], Tensor | None]
    ) -> list[Tensor | None]:
        """The result for each row of a batch.

        Each row is computed by itself: in a batch its last bits depend on the other rows. A resumed training
        has other rows to compute, so it would not repeat the training that was not stopped bit for bit.
        """
        keys = [(kind, _digest(row)) for row in x]
        for i, key in enumerate(keys):
            if key not in self.latents:
                with torch.no_grad():
                    computed = compute(x[i : i + 1])
                self.latents[key] = None if computed is None else computed[0].detach().clone()
        return [self.latents[key] for key in keys]


def _digest(image: Tensor) -> bytes:
    return hashlib.blake2b(image.contiguous().cpu().numpy().tobytes(), digest_size=16).digest()


@contextmanager
def cached_latents(method: Method, enabled: bool) -> Iterator[None]:
    """Use a `CachingCodec` for a method while the block runs, where `enabled`."""
    codec = method.codec
    if enabled and codec is not None:
        method.codec = CachingCodec(codec)
    try:
        yield
    finally:
        method.codec = codec
