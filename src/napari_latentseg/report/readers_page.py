"""The page of a comparison of readers; its layout is in `readers.html.j2`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_latentseg.core.scan import Scan
from napari_latentseg.evaluation.reader_comparison import ReaderComparison
from napari_latentseg.report.readers_pictures import CONSENSUS_COLOR, READER_COLORS, SlicePicture, draw_slices
from napari_latentseg.report.readers_text import class_tables, model_texts, pair_head, reader_comparison_texts
from napari_latentseg.report.templates import write_page

__all__ = ["write_readers_page"]

_METHODS = {"majority": "majority", "staple": "STAPLE"}


def write_readers_page(path: Path, comparison: ReaderComparison, image: Scan | None) -> Path:
    """Write a comparison of readers as one HTML file, pictures included, without scripts.

    It has the names of the readers as they were given, and no file name.

    Parameters
    ----------
    path
        As for `write_page`.
    comparison
        Of the readers.
    image
        Index on index with the masks, for the pictures; None shows the share of the readers instead.
    """
    return write_page(path, "readers.html.j2", _values(comparison, image))


def _values(comparison: ReaderComparison, image: Scan | None) -> dict[str, Any]:
    model = comparison.model
    has_variance = model is not None and model.maps.variance is not None
    facts = [
        ("Readers", str(len(comparison.readers))),
        ("Classes", ", ".join(info.name for info in comparison.classes)),
        ("Consensus", _METHODS[comparison.consensus.method]),
        ("Tolerance", comparison.tolerance.describe()),
        ("Spacing", comparison.geometry.describe_spacing()),
    ]
    if model is not None:
        facts += [("Model", model.maps.title), ("Compared", model.maps.basis)]
    return {
        "reader_count": len(comparison.readers),
        "facts": facts,
        "chips": [
            *zip(comparison.readers, READER_COLORS, strict=False),
            ("consensus", CONSENSUS_COLOR),
        ],
        "notes": [f"{comparison.readers[note.reader]} {note.text}." for note in comparison.notes],
        "pair_head": pair_head(comparison),
        "tables": class_tables(comparison),
        "texts": reader_comparison_texts(comparison),
        "model_title": None if model is None else model.maps.title,
        "model_texts": model_texts(comparison),
        "background": "the share of the readers that marked a voxel" if image is None else "the image",
        "has_variance": has_variance,
        "pictures": [_picture_values(picture) for picture in draw_slices(comparison, image)],
        "conventions": list(comparison.conventions.items()),
    }


def _picture_values(picture: SlicePicture) -> dict[str, Any]:
    lines = [f"disagreement {picture.disagreement:.1f} voxels"]
    if picture.variance is not None:
        lines.append(f"variance of the model {picture.variance:.1f} voxels")
    if picture.is_cropped:
        lines.append("a part of the slice")
    return {
        "title": picture.title,
        "text": "; ".join(lines),
        **picture.panels.values,
    }
