"""How much memory a run takes, and what happens where memory runs out."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest
import torch
from tests.helpers.predicted import picture, predicted, same, scan_of, started

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.tiles import TileBlender
from napari_latentseg.methods.noise import Noise
from napari_latentseg.models.folder import Model

pytestmark = pytest.mark.usefixtures("no_garbage_collection", "no_encodings")


def test_memory_does_not_grow_with_the_samples(tiny_model: Model) -> None:
    scan = scan_of(picture(3, 160, 160), "zyx")

    def peak(samples: int) -> int:
        run = started(tiny_model, scan, samples=samples, keep_samples=False, tiles_at_once=2)
        tracemalloc.start()
        list(run)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)  # what is loaded on first use is loaded now
    few, many = peak(8), peak(20)  # both more than the batches that are under way at once
    # a quarter of a single slice of floats for each further sample: how many batches are under way at once
    # depends on the load of the machine
    assert many - few < 12 * 160 * 160 * 4 / 4


@pytest.mark.parametrize(
    ("part", "error", "source"),
    [
        ("encode", torch.OutOfMemoryError, "augment"),
        ("sample", torch.OutOfMemoryError, "augment"),
        ("encode", MemoryError, "none"),
        ("sample", RuntimeError, "none"),
    ],
)
def test_where_memory_runs_out_half_the_tiles_go_on(
    tiny_tiles_model: Model, monkeypatch: pytest.MonkeyPatch, part: str, error: type[Exception], source: str
) -> None:
    scan = scan_of(picture(110, 130))
    asked = {"source": source, "samples": 1 if source == "none" else 3, "tiles_at_once": 8}
    plain = predicted(tiny_tiles_model, scan, **asked)

    real = getattr(tiny_tiles_model.method, part)
    sizes: list[int] = []

    def short(batch: torch.Tensor, *more: object) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return real(batch, *more)

    monkeypatch.setattr(tiny_tiles_model.method, part, short)
    laid: Counter[tuple[TileBlender, tuple[int, int]]] = Counter()
    add = TileBlender.add_tile

    def counting(self: TileBlender, tile: np.ndarray, corner: tuple[int, int]) -> None:
        laid[(self, corner)] += 1
        add(self, tile, corner)

    monkeypatch.setattr(TileBlender, "add_tile", counting)
    found = predicted(tiny_tiles_model, scan, **asked)
    np.testing.assert_allclose(found.mean, plain.mean, atol=1e-5)
    assert set(laid.values()) == {1}
    assert sizes[:3] == [8, 4, 2]
    assert max(sizes[2:]) == 2  # once is enough
    assert found.record.input.notes == (
        "memory ran out; continued with 4 tiles at once",
        "memory ran out; continued with 2 tiles at once",
    )


def test_noise_that_was_drawn_in_vain_is_drawn_again(
    tiny_tiles_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that runs out after the noise was drawn must not change the sample."""
    real = tiny_tiles_model.method.sample
    most = {"now": 100}

    def noisy(condition: torch.Tensor, noise: Noise) -> torch.Tensor:
        moved = condition + 0.1 * noise(tuple(condition.shape))
        if len(condition) > most["now"]:
            raise torch.OutOfMemoryError
        return real(moved)

    monkeypatch.setattr(tiny_tiles_model.method, "sample", noisy)
    monkeypatch.setattr(type(tiny_tiles_model.method), "sampling_sources", ("noise",))
    card = tiny_tiles_model.card.model_copy(update={"sources": ("noise", "none")})
    noise = Model(tiny_tiles_model.method, card, tiny_tiles_model.folder)
    scan = scan_of(picture(110, 130))
    plain = predicted(noise, scan, samples=3, tiles_at_once=2)
    most["now"] = 2
    found = predicted(noise, scan, samples=3, tiles_at_once=8)
    np.testing.assert_allclose(found.mean, plain.mean, atol=1e-5)


def test_other_faults_are_not_taken_for_memory(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("sizes of tensors must match")

    monkeypatch.setattr(tiny_model.method, "sample", broken)
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        predicted(tiny_model, scan_of(picture(8, 8)))


def test_memory_too_small_for_one_tile_is_said_plainly(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(tiny_model.method, "encode", never)
    with pytest.raises(BadInput, match="memory: is too small for a single tile"):
        predicted(tiny_model, scan_of(picture(8, 8)), tiles_at_once=2)


def test_an_image_is_encoded_once_where_all_samples_see_the_same(
    tiny_tiles_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a method with noise of its own sees it; here the noise is put in by hand."""
    calls = Counter[str]()
    encode, draw = tiny_tiles_model.method.encode, tiny_tiles_model.method.sample

    def counted(images: torch.Tensor) -> torch.Tensor:
        calls["tiles"] += len(images)
        return encode(images)

    def noisy(condition: torch.Tensor, noise: Noise) -> torch.Tensor:
        return draw(condition + 0.1 * noise(tuple(condition.shape)))

    monkeypatch.setattr(tiny_tiles_model.method, "encode", counted)
    monkeypatch.setattr(tiny_tiles_model.method, "sample", noisy)
    monkeypatch.setattr(type(tiny_tiles_model.method), "sampling_sources", ("noise",))
    card = tiny_tiles_model.card.model_copy(update={"sources": ("noise", "none")})
    noise = Model(tiny_tiles_model.method, card, tiny_tiles_model.folder)
    scan = scan_of(picture(90, 130))
    first = predicted(noise, scan, samples=4, seed=1)
    tiles = calls["tiles"]
    assert same(first, predicted(noise, scan, samples=4, seed=1))
    assert not np.array_equal(first.mean, predicted(noise, scan, samples=4, seed=2).mean)
    assert calls["tiles"] == 3 * tiles
    predicted(noise, scan, samples=1)
    assert calls["tiles"] == 4 * tiles  # four samples or one: the same number of tiles was encoded
    assert first.variance.max() > 0
