"""How tools/fuzz.py reads each kind of seed: as a person would, with every value computed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WHOLE_BYTES = 256 * 2**20  # an array up to this size is computed as a whole, of a larger one a corner
_CORNER = 64  # voxels along each axis


def _compute(array: Any) -> None:
    import numpy as np

    if array.size * array.dtype.itemsize > _WHOLE_BYTES:
        array = array[tuple(slice(0, _CORNER) for _ in array.shape)]
    np.asarray(array)


def read_image(path: Path) -> None:
    """Listed, looked at, read; the values of both computed."""
    from napari_latentseg.errors import BadInput
    from napari_latentseg.io.registry import list_series, read_scan, read_scan_lazy

    refusals = []
    list_series(path)
    for read in (read_scan_lazy, read_scan):
        try:
            scan = read(path)
            for array in (scan.array, *scan.levels):
                _compute(array)
            _ = scan.geometry.spacing, scan.notes, scan.name
        except BadInput as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


def read_mask(path: Path) -> None:
    """The labels of a mask of one class, and of one of several."""
    from napari_latentseg.data.mask_file import read_mask_file
    from napari_latentseg.errors import BadInput

    refusals = []
    for known_labels in (None, (1, 2)):
        try:
            mask = read_mask_file(path, known_labels)
            _compute(mask.labels)
            _ = mask.geometry.spacing
        except BadInput as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


def read_model(folder: Path) -> None:
    """Card, split, comparison, replay and weights."""
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.card_text import card_text
    from napari_latentseg.models.split import read_split
    from napari_latentseg.models.store import load_model
    from napari_latentseg.models.versions import comparison_line

    card = read_card(folder)
    card_text(card)
    read_split(folder)
    comparison_line(folder)
    _read_replay(folder, load_model(folder))


def _read_replay(folder: Path, model: Any) -> None:
    from napari_latentseg.training.replay import read_replay
    from napari_latentseg.utils.device import Compute

    read_replay(folder, model.card, model.method.fine_tune_spec(), Compute("cpu", "float32"))


def read_codec(folder: Path) -> None:
    from napari_latentseg.codecs.loading import load_codec, weights_hash

    weights_hash(folder)
    load_codec(folder)


def read_store(folder: Path) -> None:
    """Every approval, case and draft, and the check of the whole."""
    from napari_latentseg.annotations import AnnotationStore
    from napari_latentseg.errors import BadInput

    with AnnotationStore(folder) as store:
        store.approvals(revoked=True)
        store.verify()
        for case in store.annotated_cases():
            try:
                case.read_scan()
                case.read_mask()
            except BadInput:
                continue
        for draft in store.drafts():
            try:
                store.resume_draft(draft)
            except BadInput:
                continue
        with tempfile.TemporaryDirectory() as exported:
            store.export_nnunet(Path(exported) / "data")


def read_result(folder: Path) -> None:
    """A result, its sizes, and its report."""
    from napari_latentseg.io.read_results import read_segmentation
    from napari_latentseg.measure.measure_segmentation import measure
    from napari_latentseg.report.write_report import write_report

    segmentation = read_segmentation(folder)
    for values in (segmentation.mean, segmentation.variance):
        if values is not None:
            _compute(values)
    measurements = measure(segmentation)
    with tempfile.TemporaryDirectory() as written:
        write_report(Path(written) / "report.html", segmentation, None, measurements, (), None)


def read_pairs(folder: Path) -> None:
    """A folder of images and masks."""
    from napari_latentseg.data.folders import find_cases
    from napari_latentseg.errors import BadInput

    for case in find_cases(folder):
        try:
            case.read_scan()
            case.read_mask()
        except BadInput:
            continue


def read_config(path: Path) -> None:
    from napari_latentseg.training.config_files import load_config

    load_config(path)


def read_archive(path: Path) -> None:
    from napari_latentseg.models.archive import install_archive

    install_archive(path, "fuzzed", replace=True)


TARGETS: dict[str, Callable[[Path], None]] = {
    "image": read_image,
    "mask": read_mask,
    "model": read_model,
    "codec": read_codec,
    "store": read_store,
    "result": read_result,
    "pairs": read_pairs,
    "config": read_config,
    "archive": read_archive,
}
"""By the `target` of a seed."""
