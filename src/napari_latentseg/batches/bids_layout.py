"""Results as BIDS derivatives: label maps with their tables, probabilities, and what made them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_latentseg.batches.bids_cases import DATASET_DESCRIPTION, bids_root, is_bids
from napari_latentseg.batches.case import BatchCase, BatchJob
from napari_latentseg.batches.layout_files import array_writer, record_of, text_writer
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io.image_header import ImageHeader
from napari_latentseg.models.card import ModelCard
from napari_latentseg.utils.atomic import atomic_path
from napari_latentseg.utils.json_text import load_json

__all__ = ["bids_files", "bids_names", "describe_data_set"]

_BIDS_VERSION = "1.10.0"
_NAME = "napari-latentseg"
_README = """Segmentations and probabilities, made by napari-latentseg. For research; not a medical device.

dseg, mask: the label map, or the mask of a single class. probseg: the mean probability of a class over the
samples. The key RunRecord of a sidecar says how it was computed. cases.tsv: what became of each image.
"""


def describe_data_set(out: Path, model: str, version: str, source: Path | None) -> None:
    """Write what BIDS wants at the top of a data set of derivatives; one that already exists stays.

    Parameters
    ----------
    out
        The data set.
    model, version
        Name and version of the model.
    source
        The BIDS data set of the images; None where they are of none.

    Raises
    ------
    BadInput
        If the folder is a data set that another program made, or cannot be written.
    """
    from napari_latentseg import __version__

    path = out / DATASET_DESCRIPTION
    if path.exists():
        _check_ours(path)
        return
    links = {"raw": Path(os.path.relpath(source.absolute(), out.absolute())).as_posix()} if source else {}
    description: dict[str, Any] = {
        "Name": f"Segmentations by {model}",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {"Name": _NAME, "Version": __version__, "Description": f"Model {model}, version {version}"}
        ],
    }
    if links:
        description |= {"DatasetLinks": links, "SourceDatasets": [{"URL": links["raw"]}]}
    texts = {
        DATASET_DESCRIPTION: json.dumps(description, indent=2) + "\n",
        "README": _README,
        ".bidsignore": "cases.tsv\n",
    }
    for name, text in texts.items():
        if not (out / name).exists():
            with atomic_path(out / name) as temporary:
                temporary.write_text(text, "utf-8")


def _check_ours(path: Path) -> None:
    try:
        content = load_json(path.read_text("utf-8-sig"))
        makers = {entry.get("Name") for entry in content.get("GeneratedBy", ())}
    except (OSError, ValueError, AttributeError, TypeError):
        makers = set()
    if _NAME not in makers:
        raise BadInput(path.parent, "is a data set that another program made", "choose another folder")


def bids_names(job: BatchJob, case: BatchCase, card: ModelCard, header: ImageHeader) -> list[str]:
    """The names of the files of a case, the sidecar of its mask last."""
    return list(_planned(case, _classes(job, card)))


def bids_files(
    job: BatchJob, case: BatchCase, card: ModelCard, segmentation: Segmentation
) -> dict[str, Callable[[Path], object]]:
    """What writes the files of a case, by their names, the sidecar of its mask last."""
    record = record_of(segmentation, case).model_dump(mode="json")
    sidecar: dict[str, Any] = {
        "Description": f"Segmentation by the model {card.name}, version {card.version}",
        "SpatialReference": "orig",
        "Manual": False,
    }
    if (source := _source_uri(case)) is not None:
        sidecar["Sources"] = [source]
    classes = segmentation.classes
    writers: dict[str, Callable[[Path], object]] = {}
    for name, class_index in _planned(case, classes).items():
        if name.endswith(".tsv"):
            writers[name] = text_writer(_label_table(classes))
        elif name.endswith(".json"):
            extra: dict[str, Any] = {} if class_index is not None else {"RunRecord": record}
            if name.endswith("_mask.json"):
                extra["Type"] = "ROI"
            writers[name] = text_writer(json.dumps(sidecar | extra, indent=2) + "\n")
        else:
            array = segmentation.mask if class_index is None else segmentation.mean[class_index]
            writers[name] = array_writer(segmentation, array)
    return writers


def _planned(case: BatchCase, classes: tuple[ClassInfo, ...]) -> dict[str, int | None]:
    """The names of the files of a case; a file of one class has its index, that of the mask None."""
    folder, entities, description = _entities(case)
    names: dict[str, int | None] = {}
    for index, info in enumerate(classes):
        stem = f"{folder}/{entities}_label-{_label(info.name)}{description}_probseg"
        names |= {f"{stem}.nii.gz": index, f"{stem}.json": index}
    if len(classes) == 1:
        stem = f"{folder}/{entities}_label-{_label(classes[0].name)}{description}_mask"
        return names | {f"{stem}.nii.gz": None, f"{stem}.json": None}
    stem = f"{folder}/{entities}{description}_dseg"
    return names | {f"{stem}.nii.gz": None, f"{stem}.tsv": None, f"{stem}.json": None}


def _entities(case: BatchCase) -> tuple[str, str, str]:
    """Folder, entities and description of the files of a case.

    An image that is not of BIDS is a subject of its own. The suffix of one that is, ``T1w``, becomes the
    description, so that the images of one session keep results of their own.
    """
    if case.folder:
        entities, _, suffix = case.name.rpartition("_")
        return case.folder, entities, f"_desc-{_label(suffix)}"
    label = _label(case.name)
    if label != case.name:  # two names may have the same letters and digits
        label += hashlib.sha256(case.name.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return f"sub-{label}/anat", f"sub-{label}", ""


def _label(text: str) -> str:
    """The letters and digits of a text: BIDS allows no others in a label."""
    return re.sub(r"[^A-Za-z0-9]", "", text) or "x"


def _classes(job: BatchJob, card: ModelCard) -> tuple[ClassInfo, ...]:
    requested = job.settings.classes
    return tuple(info for info in card.classes if requested is None or info.name in requested)


def _label_table(classes: tuple[ClassInfo, ...]) -> str:
    """The table that says what the labels mean."""
    rows = [f"{info.label}\t{' '.join(info.name.split())}\t{info.color}" for info in classes]
    return "\n".join(["index\tname\tcolor", "0\tbackground\t#000000", *rows]) + "\n"


def _source_uri(case: BatchCase) -> str | None:
    """The image in the raw data set; None where it is of none, as the name of a file may be a patient's."""
    if not case.folder:
        return None
    root = bids_root(case.path)
    if root is None or not is_bids(root):
        return None
    return f"bids:raw:{case.path.absolute().relative_to(root).as_posix()}"
