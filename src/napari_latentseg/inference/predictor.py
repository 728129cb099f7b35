"""From a scan to a segmentation: planes, samples, tiles."""

from __future__ import annotations

import gc
import hashlib
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.bands import bands_of, resized_bands
from napari_latentseg.inference.ensemble import Ensemble
from napari_latentseg.inference.large import LargeCanvas, LargeView
from napari_latentseg.inference.plane import Conditions, conditions_of, draw_tiles, noise_of, tiling_of
from napari_latentseg.inference.request import MOST_SAMPLES, Request, only_members
from napari_latentseg.inference.room import memory_limit
from napari_latentseg.inference.seen import look_at_plane
from napari_latentseg.inference.tiles import Canvas, Tiling
from napari_latentseg.inference.variation import Variation, variations
from napari_latentseg.models.folder import Model
from napari_latentseg.planes import Planes
from napari_latentseg.precision import choose_compute, is_out_of_memory
from napari_latentseg.scan import Scan
from napari_latentseg.segmentation import (
    MINIMUM_FOR_VARIANCE,
    InputRecord,
    ModelRecord,
    RunRecord,
    Segmentation,
    inside_of,
    mask_from,
)

__all__ = ["Predictor", "Run", "Step"]


@dataclass(frozen=True)
class Step:
    """Where a run stands, given after every batch of tiles.

    Attributes
    ----------
    done
        Fraction of the whole, in [0, 1].
    plane, sample
        Which plane is worked on, and which of its samples, both from 0.
    finished
        Whether that sample is complete with this step.
    """

    done: float
    plane: int
    sample: int
    finished: bool


class Predictor:
    """Runs a model on scans.

    Parameters
    ----------
    model
        What to run.
    device, precision
        See `choose_compute`.
    """

    def __init__(self, model: Model, device: str = "auto", precision: str = "auto") -> None:
        self.model = model
        self.compute = choose_compute(device, precision)
        self.move()

    def move(self) -> None:
        """Bring the model to its device: its codec is shared, and another may have taken that elsewhere."""
        for method in self.model.members:
            method.to(self.compute.torch_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]

    def start(self, scan: Scan, request: Request) -> Run:
        """A run that has not begun; iterate over it to do the work."""
        return Run(self, scan, request)

    def segment(self, scan: Scan, request: Request) -> Segmentation:
        """Do a whole run at once."""
        run = self.start(scan, request)
        for _ in run:
            pass
        found = run.result()
        assert found is not None  # a run that was not stopped has every sample
        return found


class Run:
    """One run of a model on a scan.

    Iterating does the work and yields a `Step` after every batch of tiles; whoever stops iterating cancels.
    `result` may be asked for at any time.
    """

    def __init__(self, predictor: Predictor, scan: Scan, request: Request) -> None:
        self.predictor = predictor
        self.scan = scan
        self.request = request
        self.planes = Planes.of(scan)
        self.card = predictor.model.card
        self.notes = [*scan.notes, *self.planes.notes]
        self._limit = memory_limit(request.memory_limit)
        self.ensemble = Ensemble(
            len(self.card.classes), len(self.planes), self.planes.plane_shape, inside_of(self.card.classes),
            self._limit,
        )  # fmt: skip
        self._tiles_at_once = request.tiles_at_once
        self._wanted = request.samples
        self._seconds = 0.0
        self._digest = ""
        self._chosen = _chosen(request, len(self.planes))
        self._settled = np.zeros(len(self.planes), dtype=np.int64)
        self._stream = (
            variations(
                self.card.augment,
                request.seed,
                step=predictor.model.method.size_multiple,
                size=self.card.preprocess.size,
            )
            if request.source == "augment"
            else _the_same()
        )
        self._variations: list[Variation] = []

    def more(self, samples: int) -> None:
        """Ask for further samples; iterate again to draw them. The result is that of a longer run.

        Raises
        ------
        BadInput
            Where that makes no sense: none, too many in all, or of a source that gives equal samples.
        """
        if self.request.source == "none":
            raise BadInput(
                "samples",
                f"{self.card.name} gives the same answer every time without a sampling source",
                "choose a source",
            )
        if self.request.source == "members" and self._wanted + samples > self.card.members:
            raise BadInput("samples", only_members(self.card), "choose another source for more")
        if samples < 1 or self._wanted + samples > MOST_SAMPLES:
            raise BadInput("samples", f"must be 1 or more, and {MOST_SAMPLES} or less in all", "correct it")
        self._wanted += samples

    @property
    def samples_wanted(self) -> int:
        """How many samples each plane is to have."""
        return self._wanted

    def order(self) -> list[int]:
        """The planes in the order they are worked on: outwards from the one asked for."""
        first = min(max(self.request.first_plane, self._chosen[0]), self._chosen[-1])
        return sorted(self._chosen, key=lambda i: (abs(i - first), i))

    def __iter__(self) -> Iterator[Step]:
        begun = time.perf_counter()
        before = self._seconds
        self._variations += islice(self._stream, self._wanted - len(self._variations))
        self.predictor.move()
        try:
            yield from self._look()
            for done, plane in enumerate(self.order()):
                for step in self._plane(plane):
                    self._seconds = before + time.perf_counter() - begun
                    yield Step((done + step.done) / len(self._chosen), plane, step.sample, step.finished)
        finally:
            self._seconds = before + time.perf_counter() - begun

    def _look(self) -> Iterator[Step]:
        """Hash the values, plane by plane, so that a dask array is not loaded whole and a stop is heard."""
        if self._digest:
            return
        digest = hashlib.sha256(f"{self.scan.array.dtype.str}{self.scan.array.shape}".encode())
        first = self.order()[0]
        for number in range(len(self.planes)):
            if number:
                yield Step(0.0, first, int(self.ensemble.counts[first]), False)
            array = self.scan.array
            height = self.planes.plane_shape[0]
            for band in bands_of(height, array.nbytes / len(self.planes) / height / 4):
                place: tuple[int | slice, ...] = (*self.planes.index(number), band)
                values = np.asarray(array[place])
                digest.update(np.ascontiguousarray(values).data.cast("B"))
        self._digest = digest.hexdigest()

    def _plane(self, plane: int) -> Iterator[Step]:
        size = self.card.preprocess.working_size(*self.planes.plane_shape)
        seen = look_at_plane(self.planes, plane, size, len(self.card.classes), self._limit)
        first = int(self.ensemble.counts[plane])
        kept: Conditions = []
        for sample in range(first, self._wanted):
            variation = self._variations[sample]
            view = seen.varied(variation)
            tiling = tiling_of(view, self.card.preprocess)
            total = len(tiling.corners())
            canvas = seen.canvas(tiling)
            for laid in self._tiles(view, tiling, canvas, sample, kept if seen.may_keep else []):
                if laid < total:
                    done = (sample - first + laid / total) / (self._wanted - first)
                    yield Step(done, plane, sample, False)
            found = seen.undone(canvas, variation)
            bands = resized_bands(found, size, self.planes.plane_shape, len(self.card.classes))
            native = ((rows, band.clamp(0, 1).numpy()) for rows, band in bands)
            self.ensemble.add_bands(plane, native, self.request.threshold)
            if sample + 1 == self._wanted:
                self._settled[plane] = self._wanted
            yield Step((sample + 1 - first) / (self._wanted - first), plane, sample, True)

    def _tiles(
        self,
        view: Tensor | LargeView,
        tiling: Tiling,
        canvas: Canvas | LargeCanvas,
        sample: int,
        kept: Conditions,
    ) -> Iterator[int]:
        """Draw every tile of a view and lay it, a batch at a time; gives how many lie there so far.

        Where memory runs out, in encoding or in drawing, the batch goes on in halves: a batch is laid only
        when all of it is drawn. What is encoded is kept for the next sample where all samples see the same,
        by the same predictor.
        """
        source, compute = self.request.source, self.predictor.compute
        method = self.predictor.model.members[sample if source == "members" else 0]
        waiting: list[tuple[list[tuple[int, int]], Tensor | None]] = list(kept) or [(tiling.corners(), None)]
        encoded_before = bool(kept)
        seed = self.request.seed
        is_noisy = source in method.own_sources or not method.is_deterministic
        laid = 0
        while waiting:
            corners, condition = waiting.pop(0)
            count = self._tiles_at_once
            if len(corners) > count:
                waiting.insert(0, (corners[count:], None if condition is None else condition[count:]))
                corners, condition = corners[:count], None if condition is None else condition[:count]
            tiles: Tensor | None = None
            try:
                if condition is None:
                    condition = conditions_of(method, view, tiling, corners, compute)
                noise = noise_of(method, corners, seed, sample) if is_noisy else None
                tiles = draw_tiles(method, condition, compute, noise)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            if tiles is None:  # and the error, which holds on to what was computed, is gone
                waiting.insert(0, (corners, condition))
                self._shrink()
                continue
            canvas.lay(tiles, corners)
            if source not in ("augment", "members") and not encoded_before and condition is not None:
                kept.append((corners, condition))
            laid += len(corners)
            yield laid

    def _shrink(self) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self._tiles_at_once == 1:
            raise BadInput("memory", "is too small for a single tile of this model", "close other programs")
        self._tiles_at_once //= 2
        self.notes.append(f"memory ran out; went on with {self._tiles_at_once} tiles at once")

    def preview(self, plane: int) -> NDArray[np.uint8]:
        """The mask of one plane from the samples so far, `(H, W)`."""
        height, width = self.planes.plane_shape
        found = np.empty((height, width), dtype=np.uint8)
        for band in bands_of(height, len(self.card.classes) * width):
            mean = self.ensemble.mean[plane, :, band]
            found[band] = mask_from(mean, self.request.threshold, self.card.classes)
        return found

    def result(self) -> Segmentation | None:
        """What there is so far, with its true number of samples; None where no sample is complete.

        Of a stack, the planes that were left with only a part of their samples show nothing, so that all
        that show something have as many as the record says. Where a run was stopped while it drew further
        samples, the record has the number that all planes have, and a note tells of planes with more.
        The arrays are the caller's own: a run that goes on does not change them. Beyond the limit of memory
        they are dask arrays of what lies on disk, and a run that goes on does change them.
        """
        ensemble, counts = self.ensemble, self.ensemble.counts
        shown = counts >= max(1, self._claimed())
        if not shown.any():
            return None
        n = int(counts[shown].min())
        spatial = self.scan.spatial_shape
        mean = _stacked(ensemble.means(), spatial, shown)
        different = len(set(self._variations[:n])) if self.request.source == "augment" else n
        has_variance = different >= MINIMUM_FOR_VARIANCE and self.request.source != "none"
        notes = list(self.notes)
        if self.request.source == "augment" and different < n:
            notes.append(
                f"only {different} of the {n} samples differ: the model was trained with no more variations"
            )
        if counts.max() > n:
            notes.append(f"{np.count_nonzero(counts > n)} planes have up to {counts.max()} samples")
        size, unit = self.scan.geometry.element_size
        volumes = (ensemble.elements(shown)[:n] * size).astype(np.float64)
        return Segmentation(
            mask=mask_from(mean, self.request.threshold, self.card.classes),
            mean=mean,
            variance=_stacked(ensemble.variance(), spatial, shown) if has_variance else None,
            volumes=volumes,
            axes=self.scan.spatial_axes,
            geometry=self.scan.geometry,
            format=self.scan.format,
            properties=dict(self.scan.properties),
            classes=self.card.classes,
            record=self._record(n, int(shown.sum()), volumes, unit, notes),
            source=self.scan.source,
        )

    def _claimed(self) -> int:
        """How many samples a plane must have to be shown: those of the planes that were not cut short."""
        settled = self._settled[self._settled > 0]
        if len(self.planes) == 1 or not settled.size:
            return int(self.ensemble.counts.max())
        return int(settled.min())

    def _record(
        self, n: int, planes_done: int, volumes: NDArray[np.float64], unit: str, notes: list[str]
    ) -> RunRecord:
        card, request, scan = self.card, self.request, self.scan
        pre = card.preprocess
        return RunRecord(
            plugin_version=_version("napari-latentseg"),
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            input=InputRecord(
                sha256=self._digest,
                format=scan.format,
                axes=scan.axes,
                shape=tuple(scan.array.shape),
                dtype=str(scan.array.dtype),
                spacing=scan.geometry.spacing,
                units=scan.geometry.units,
                modality=scan.modality,
                notes=tuple(notes),
            ),
            model=ModelRecord(
                name=card.name,
                version=card.version,
                method=card.method,
                variant=card.variant,
                codec=card.codec.name if card.codec else "the model's own",
                sha256={**card.files} | ({"codec": card.codec.sha256} if card.codec else {}),
            ),
            classes=card.classes,
            samples_asked=self._wanted,
            samples=n,
            planes_done=planes_done,
            planes=len(self.planes),
            source=request.source,
            source_settings=_settings(card.augment.model_dump(), request.source),
            seed=request.seed,
            threshold=request.threshold,
            device=self.predictor.compute.device,
            precision=self.predictor.compute.precision,
            tile=(pre.size, pre.size) if pre.mode == "tiles" else None,
            overlap=pre.overlap,
            working_size=pre.working_size(*self.planes.plane_shape),
            seconds=round(self._seconds, 3),
            complete=n == self._wanted and planes_done == len(self._chosen),
            slices=self.request.slices,
            volumes={c.name: [round(float(v), 6) for v in volumes[:, k]] for k, c in enumerate(card.classes)},
            volume_unit=unit,
            versions={"python": platform.python_version()}
            | {name: _version(name) for name in ("torch", "numpy", "diffusers")},
        )


def _chosen(request: Request, count: int) -> range:
    """The planes to work on.

    Raises
    ------
    BadInput
        Where the scan has no such planes.
    """
    first, last = request.slices or (0, count - 1)
    if last >= count:
        raise BadInput("slices", f"end at {last + 1}, but the scan has {count}", f"use 1 to {count}")
    return range(first, last + 1)


def _the_same() -> Iterator[Variation]:
    while True:
        yield Variation()


def _settings(ranges: dict[str, float], source: str) -> dict[str, float]:
    if source != "augment":
        return {}
    names = (
        "horizontal_flip",
        "vertical_flip",
        "quarter_turn",
        "jitter",
        "brightness",
        "contrast",
        "affine",
        "shift",
    )
    return {name: ranges[name] for name in names}


def _stacked(planes: Any, spatial: tuple[int, ...], shown: NDArray[np.bool_]) -> Any:
    """`(N, K, H, W)` to `(K, *spatial)`, a copy, or dask; planes that are not shown are 0."""
    if not isinstance(planes, np.ndarray):
        import dask.array as da

        kept = planes if shown.all() else da.where(shown[:, None, None, None], planes, np.float32(0))
        return kept.swapaxes(0, 1).reshape(planes.shape[1], *spatial)
    found = np.zeros((planes.shape[1], len(planes), *planes.shape[2:]), dtype=np.float32)
    found[:, shown] = planes[shown].swapaxes(0, 1)
    return found.reshape(planes.shape[1], *spatial)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
