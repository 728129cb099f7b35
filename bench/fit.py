"""Whether a model tells images that it was not made for from its own: figures, and the `fit` of its card.

    python bench/fit.py --data DATA [--cache FOLDER] [--json FILE] [--write]

DATA holds the folders busi, chase_db1, msd_hippocampus and so on. For each embedded model the distribution of
its training images is fitted, with limits from the training images in turn and the validation images. Then
its own validation images are compared with the other sets, and with themselves inverted, turned, upside down
and blurred. AUROC: how often an image of the other set is farther than one of the validation images. "told":
the fraction that is unusual or foreign. The header (modality, dimensions, colour, size) is left out of both.
`--write` puts the reference into the embedded cards.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg import Geometry, Scan, read_scan, sample_data
from napari_latentseg.data.cases import Case
from napari_latentseg.data.folders import find_cases
from napari_latentseg.evaluation.fit import FitReference, ImageStatistics
from napari_latentseg.evaluation.header_fit import HeaderFacts, HeaderRange
from napari_latentseg.inference.fit import FitCheck, LatentSums, scan_statistics, training_orientation
from napari_latentseg.models.card import CARD
from napari_latentseg.models.folder import Model
from napari_latentseg.models.split import read_split
from napari_latentseg.models.store import load_model
from napari_latentseg.utils.device import Compute, resolve_compute

OWN = {"breast-ultrasound": "busi", "hippocampus-mr": "msd_hippocampus", "retina-vessels": "chase_db1"}
# the same kind of image from another camera: told apart or not, it is not foreign
RELATED = {"retina-vessels": ("drive", "skimage retina")}
SETS = (
    "busi", "chase_db1", "msd_hippocampus", "ph2", "kvasir_seg", "cvc_clinicdb", "drive", "acdc", "dsb2018",
    "lidc_nodules",
)  # fmt: skip
BLUR = 0.03  # standard deviation as a fraction of the longer side


def transformed(scan: Scan, kind: str) -> Scan:
    """The scan inverted, turned by 90 degrees, upside down or heavily blurred, slice by slice."""
    values, axes = np.asarray(scan.array), scan.spatial_axes
    rows, columns = axes.index("y"), axes.index("x")
    if kind == "inverted":
        return scan.replace(array=(values.max() - values + values.min()).astype(values.dtype))
    if kind == "upside down":
        return scan.replace(array=np.ascontiguousarray(np.flip(values, rows)))
    if kind == "turned":
        turned = np.ascontiguousarray(np.rot90(values, axes=(rows, columns)))
        units = scan.geometry.units[-1]
        return Scan(turned, scan.axes, Geometry.from_spacing(axes, scan.geometry.spacing, units))
    sigma = [0.0] * values.ndim
    sigma[rows] = sigma[columns] = BLUR * max(values.shape[rows], values.shape[columns])
    return scan.replace(array=ndimage.gaussian_filter(values.astype(np.float32), sigma).astype(values.dtype))


def transformed_all(scans: Sequence[Scan], kind: str) -> list[Scan]:
    """Each of the scans, transformed."""
    return [transformed(scan, kind) for scan in scans]


class Statistics:
    """The statistics of scans by one model, kept in a folder between calls."""

    def __init__(self, model: Model, compute: Compute, cache: Path | None) -> None:
        self.model, self.compute, self.cache = model, compute, cache
        self.orientation = training_orientation(model.card.augment)

    def of(self, scan: Scan) -> ImageStatistics:
        key = f"{self.model.card.name} {self.compute} {self.orientation} {scan.content_sha256}"
        path = self.cache and self.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
        if path and path.is_file():
            stored = np.load(path)
            return ImageStatistics(stored["latents"], stored["sharpness"])
        statistics = scan_statistics(self.model, self.compute, scan, self.orientation)
        if path:
            np.savez(path, latents=statistics.latents, sharpness=statistics.sharpness)
        return statistics


def other_scans(name: str, data: Path, count: int) -> Iterator[tuple[str, Callable[[], list[Scan]]]]:
    """The other sets of images, each with a function that reads some of it, evenly from all."""

    def from_folder(folder: str) -> list[Scan]:
        files = sorted((data / folder / "images").iterdir())
        wanted = min(count if folder not in ("msd_hippocampus", "acdc") else count // 2, len(files))
        return [read_scan(files[i * len(files) // wanted]) for i in range(wanted)]

    for folder in SETS:
        if folder != OWN[name]:
            yield folder, partial(from_folder, folder)
    series = [data / "dicom_brain_mr" / p for p in ("Study1/13_HCropVolume", "Study3/11-T1post-18670")]
    yield "dicom_brain_mr", lambda: [read_scan(path) for path in series]
    yield "skimage retina", lambda: [sample_data.retina().scan]
    yield "ultrasound phantoms", lambda: [sample_data.ultrasound_phantom(i).scan for i in range(count)]
    yield (
        "ultrasound sweeps",
        lambda: [sample_data.ultrasound_sweep(i).scan for i in range(max(2, count // 10))],
    )


def auroc(own: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """How often an image of `others` has a greater distance than one of `own`."""
    return float((others[:, None] > own).mean() + (others[:, None] == own).mean() / 2)


def milliseconds(model: Model, compute: Compute) -> tuple[float, float]:
    """Of one slice at working size: encoding it, and all that the check adds.

    Medians of 15, of the processor's time, which other programs hardly lengthen.
    """
    size, factor = model.card.preprocess.size, model.method.downsampling_factor
    long_side = model.card.preprocess.long_side
    tiles = 1 if long_side is None else 49
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    times: list[tuple[float, float]] = []
    plane = np.random.default_rng(0).random((3, long_side or size, long_side or size), np.float32)
    for _ in range(15):
        check = FitCheck(model.card.fit, None, 1)
        start = time.process_time()
        with torch.inference_mode(), compute.autocast():
            latents = model.method.encode(image)
        seconds = time.process_time() - start
        latents = np.repeat(latents.float().numpy(), 4 if tiles > 1 else 1, axis=0)
        encoded = time.process_time()
        sums = LatentSums(long_side or size, factor)
        for first in range(0, tiles, 4):  # as many at once as a run takes
            sums.add(latents[: tiles - first], [(8 * first, 0)] * min(4, tiles - first))
        check.add(0, sums)
        check.add_image(0, plane)
        check.result()
        times.append((tiles * seconds, time.process_time() - encoded))
    encode, check = np.median(np.array(times), axis=0)
    return 1000 * float(encode), 1000 * float(check)


def measure(name: str, data: Path, cache: Path | None, count: int) -> tuple[FitReference, dict[str, Any]]:
    """The reference of a model, and how well it tells the other sets apart."""
    model = load_model(name)
    compute = resolve_compute("auto", "auto")
    statistics = Statistics(model, compute, cache)
    parts: dict[str, dict[str, Case]] = {"train": {}, "validation": {}, "": {}}
    split = read_split(model.folder)
    for case in find_cases(data / OWN[name]):
        parts[split.part_of(case)].setdefault(case.content_sha256, case)
    train = [case.read_scan() for case in parts["train"].values()]
    validation = [case.read_scan() for case in parts["validation"].values()]
    train_rows, own_rows = [statistics.of(s) for s in train], [statistics.of(s) for s in validation]
    headers = HeaderRange.of(HeaderFacts.of(scan) for scan in train)
    reference = FitReference.fit(headers, train_rows, own_rows, statistics.orientation)
    blind = FitReference.fit(headers, train_rows, [], statistics.orientation)
    latents = reference.latents
    assert latents is not None
    scores, told, _ = summary(reference, own_rows)
    figures: dict[str, Any] = {
        "training": len(train),
        "validation": len(validation),
        "limits": (latents.volumes or latents.slices).model_dump(),
        "validation_told": told,
        "validation_told_by_limits_without_validation": summary(blind, own_rows)[1],
        "sets": {},
    }
    changes = ["inverted", "blurred"]
    if latents.orientation == "upright":
        changes += ["turned", "upside down"]
    sources: list[tuple[str, Callable[[], list[Scan]]]] = [
        (f"own, {kind}", partial(transformed_all, validation[:count], kind)) for kind in changes
    ]
    for label, read in [*sources, *other_scans(name, data, count)]:
        rows = [statistics.of(scan) for scan in read()]
        others, told, foreign = summary(reference, rows)
        related = label in RELATED.get(name, ())
        figures["sets"][label] = {
            "images": len(rows), "auroc": round(auroc(scores, others), 4), "told": told,
            "foreign": foreign, "related": related,
        }  # fmt: skip
        print(f"{name:18} {label:20} {figures['sets'][label]}", flush=True)
    model = Model(model.method, model.card.replace(fit=reference), model.folder)
    encode, check = milliseconds(model, compute)
    figures["encode_ms"], figures["check_ms"] = round(encode, 2), round(check, 2)
    print(name, {k: v for k, v in figures.items() if k != "sets"}, flush=True)
    return reference, figures


def summary(
    reference: FitReference, images: Sequence[ImageStatistics]
) -> tuple[NDArray[np.float64], float, float]:
    """A score of each image, and the fractions that are told (unusual or foreign), and foreign.

    The score is the distance relative to its limit, or the blur relative to its limit where that is more.
    """
    latents, sharpness = reference.latents, reference.sharpness
    assert latents is not None
    assert sharpness is not None
    limit = (latents.volumes or latents.slices).unusual
    sharpness_limit = sharpness.slices if sharpness.volumes is None else sharpness.volumes
    scores = np.array(
        [
            max(
                float(np.median(latents.distances(image.latents))) / limit,
                float(np.exp(sharpness_limit - np.median(image.sharpness))),
            )
            for image in images
        ]
    )
    fits = [reference.check(image, len(image.latents)) for image in images]
    states = [fit.state for fit in fits if fit is not None]
    told, foreign = np.mean([s != "fits" for s in states]), np.mean([s == "foreign" for s in states])
    return scores, round(float(told), 4), round(float(foreign), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(OWN))
    parser.add_argument("--images", type=int, default=40, help="of each other set")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help="put the reference into the embedded cards")
    args = parser.parse_args()
    if args.cache is not None:
        args.cache.mkdir(parents=True, exist_ok=True)
    figures = {}
    for name in args.models:
        reference, figures[name] = measure(name, args.data, args.cache, args.images)
        if args.write:
            model = load_model(name)
            model.card.replace(fit=reference).write(model.folder / CARD)
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
