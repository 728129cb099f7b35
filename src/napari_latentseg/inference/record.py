"""The record of a run."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.record import InputRecord, ModelRecord, RunRecord
from napari_latentseg.segmentation import volumes_by_name

if TYPE_CHECKING:
    from napari_latentseg.inference.run import Run

__all__ = ["record_of"]


def record_of(
    run: Run, n: int, planes_done: int, volumes: NDArray[np.float64], unit: str, notes: list[str]
) -> RunRecord:
    """What a run was made from, and how.

    Parameters
    ----------
    run
        So far.
    n, planes_done
        How many samples its result has, and how many planes show something.
    volumes, unit
        Of the samples, `(n, K)`.
    notes
        For people.
    """
    card, request, scan = run.card, run.request, run.scan
    pre = card.preprocess
    return RunRecord(
        plugin_version=_version("napari-latentseg"),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        input=InputRecord(
            sha256=run.digest,
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
        classes=run.classes,
        samples_asked=run.samples_asked,
        samples=n,
        planes_done=planes_done,
        planes=len(run.planes),
        source=request.source,
        source_settings=_settings(card.augment.model_dump(), request.source),
        seed=request.seed,
        threshold=request.threshold,
        device=run.predictor.compute.device,
        precision=run.predictor.compute.precision,
        tile=(pre.size, pre.size) if pre.mode == "tiles" else None,
        overlap=pre.overlap,
        working_size=run.size,
        seconds=round(run.seconds, 3),
        complete=n == run.samples_wanted and planes_done == len(run.chosen),
        slices=request.slices,
        box=request.box,
        tolerance=None if run.stopping is None else run.stopping.tolerance,
        cleanup=request.cleanup if request.cleanup.is_active else None,
        volumes=volumes_by_name(run.classes, volumes),
        volume_unit=unit,
        versions={"python": platform.python_version()}
        | {name: _version(name) for name in ("torch", "numpy", "diffusers")},
    )


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


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
