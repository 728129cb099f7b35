"""Many scans, whose tiles share batches: each gives what it gives by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
import pytest
from tests.helpers.predicted import picture, same, scan_of

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.inference import segment_each as module
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.sampler import Sampler
from napari_latentseg.inference.segment_each import segment_each
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.folder import Model

UNREADABLE = BadInput("b.png", "cannot be read", "")


def volumes_and_pictures() -> list[Scan]:
    return [
        scan_of(picture(40, 52, seed=1)),
        scan_of(picture(3, 30, 44, seed=2), "zyx"),
        scan_of(picture(90, 61, seed=3)),
        scan_of(picture(33, 33, 3, seed=4)),
    ]


def unreadable_plane() -> Scan:
    """A scan whose values cannot be read; its hash is known, so that only the reading of a plane fails."""

    def fail(block: Any) -> Any:
        raise BadInput("scan", "can no longer be read", "")

    array = da.zeros((48, 48), dtype=np.uint8).map_blocks(fail, dtype=np.uint8, meta=np.zeros((), np.uint8))
    scan = scan_of(array)
    object.__setattr__(scan, "_content", "0" * 64)
    object.__setattr__(scan, "_limits", None)
    return scan


def settings_for(model: Model, **values: Any) -> InferenceSettings:
    return InferenceSettings.for_model(model.card, samples=3, **values)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many scans the tiles of each batch are of."""
    scans: list[int] = []
    compute = Sampler._compute_batch

    def counted(self: Sampler, tiles: list[Any]) -> Any:
        scans.append(len({id(tile.job.working_plane) for tile in tiles}))
        return compute(self, tiles)

    monkeypatch.setattr(Sampler, "_compute_batch", counted)
    return scans


@pytest.mark.parametrize("source", ["none", "augment"])
def test_each_scan_gives_what_it_gives_by_itself(model: Model, source: str) -> None:
    predictor = Predictor(model, "cpu", "float32")
    settings = InferenceSettings.for_model(model.card, samples=1 if source == "none" else 3, source=source)
    scans = volumes_and_pictures()
    results = dict(segment_each(predictor, enumerate(scans), settings))
    assert list(results) == [0, 1, 2, 3]
    for number, scan in enumerate(scans):
        alone, result = predictor.segment(scan, settings), results[number]
        assert isinstance(result, Segmentation)
        assert same(alone, result)
        assert result.record.input.sha256 == scan.content_sha256
        assert result.record.complete


@pytest.mark.parametrize(
    ("source", "samples", "scans_of_batch"), [("none", 1, [4, 3]), ("augment", 2, [4, 4, 3, 3])]
)
def test_pictures_share_batches(
    tiny_model: Model, batches: list[int], source: str, samples: int, scans_of_batch: list[int]
) -> None:
    scans = [scan_of(picture(40, 40, seed=seed)) for seed in range(7)]
    settings = InferenceSettings.for_model(tiny_model.card, source=source, samples=samples, tiles_at_once=4)
    assert len(list(segment_each(Predictor(tiny_model, "cpu"), enumerate(scans), settings))) == 7
    assert batches == scans_of_batch


def test_a_volume_between_pictures_keeps_its_place(tiny_model: Model) -> None:
    scans = [scan_of(picture(40, 40)), scan_of(picture(3, 40, 40), "zyx"), scan_of(picture(40, 40, seed=1))]
    predictor, settings = Predictor(tiny_model, "cpu"), settings_for(tiny_model)
    shapes = [result.mask.shape for _, result in segment_each(predictor, enumerate(scans), settings)]
    assert shapes == [(40, 40), (3, 40, 40), (40, 40)]


def test_scans_that_do_not_fit_into_memory_together_share_none(
    tiny_model: Model, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_BYTES", 2 * 40 * 40 * 9)  # two scans with their sums
    scans = [scan_of(picture(40, 40, seed=seed)) for seed in range(5)]
    settings = InferenceSettings.for_model(tiny_model.card, source="none", tiles_at_once=4)
    assert len(list(segment_each(Predictor(tiny_model, "cpu"), enumerate(scans), settings))) == 5
    assert batches == [2, 2, 1]


def test_one_that_cannot_be_segmented_costs_only_itself(tiny_model: Model) -> None:
    good = volumes_and_pictures()
    scans: list[Scan | BadInput] = [good[0], UNREADABLE, good[1], unreadable_plane(), good[2], good[3]]
    predictor, settings = Predictor(tiny_model, "cpu"), settings_for(tiny_model)
    results = dict(segment_each(predictor, enumerate(scans), settings))
    assert list(results) == list(range(6))
    assert results[1] is UNREADABLE
    assert "can no longer be read" in str(results[3])
    for number in (0, 2, 4, 5):
        result, scan = results[number], scans[number]
        assert isinstance(result, Segmentation)
        assert isinstance(scan, Scan)
        assert same(predictor.segment(scan, settings), result)


@pytest.mark.parametrize("scans", [[], [UNREADABLE], [UNREADABLE, UNREADABLE]])
def test_there_may_be_nothing_to_segment(tiny_model: Model, scans: list[BadInput]) -> None:
    predictor, settings = Predictor(tiny_model, "cpu"), settings_for(tiny_model)
    assert list(segment_each(predictor, enumerate(scans), settings)) == list(enumerate(scans))


def test_a_run_that_may_end_early_is_done_by_itself(tiny_model: Model, batches: list[int]) -> None:
    scans = [scan_of(picture(40, 40, seed=seed)) for seed in range(2)]
    settings = InferenceSettings.for_model(tiny_model.card, samples=8, tolerance=0.5)
    predictor = Predictor(tiny_model, "cpu")
    for number, result in segment_each(predictor, enumerate(scans), settings):
        alone = predictor.segment(scans[number], settings)
        assert isinstance(result, Segmentation)
        assert result.record.samples == alone.record.samples < 8
    assert set(batches) == {1}


def test_no_more_is_read_than_is_needed_soon(tiny_model: Model) -> None:
    """Two batches are under way beside the one whose results are used, and a scan begins the next."""
    read: list[int] = []

    def scans() -> Iterator[tuple[int, Scan]]:
        for number in range(40):
            read.append(number)
            yield number, scan_of(picture(40, 40, seed=number))

    settings = InferenceSettings.for_model(tiny_model.card, source="none", tiles_at_once=2)
    results = segment_each(Predictor(tiny_model, "cpu"), scans(), settings)
    next(results)
    results.close()
    assert len(read) <= 4 * 2 + 1
