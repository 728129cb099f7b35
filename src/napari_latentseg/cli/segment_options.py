"""The options of `segment` and `batch`: how is segmented, and what is written of each image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.core.postprocess import PostProcess

__all__ = [
    "Agreement",
    "Band",
    "ClassNames",
    "Contours",
    "Deidentify",
    "Doubt",
    "Engine",
    "FillHoles",
    "KeepLargest",
    "MinSize",
    "Precision",
    "ResultFormat",
    "SlicePlane",
    "Table",
    "Tolerance",
    "make_postprocess",
    "parse_classes",
]

Agreement = Annotated[
    bool, typer.Option("--agreement", help="Also write how many samples assign each voxel to a class.")
]
Band = Annotated[
    bool,
    typer.Option(
        "--band",
        help="Also write inner and outer contours: in 9 of 10 images the true edge lies between them.",
    ),
]
ClassNames = Annotated[
    str | None, typer.Option(help="Segment only these classes of the model, separated by commas.")
]
Contours = Annotated[bool, typer.Option("--contours", help="Also write outlines, as GeoJSON.")]
Deidentify = Annotated[
    bool,
    typer.Option(
        "--deidentify", help="Leave out what identifies the patient, from file names and DICOM-SEG."
    ),
]
Doubt = Annotated[
    bool,
    typer.Option("--doubt", help="Also write min(p, 1 - p) of the mean probability p at each voxel."),
]
FillHoles = Annotated[
    bool, typer.Option("--fill-holes", help="Fill holes that a class encloses on all sides.")
]
KeepLargest = Annotated[
    bool, typer.Option("--keep-largest", help="Keep only the largest object of each class.")
]
MinSize = Annotated[
    float, typer.Option(help="Remove objects below this area or volume, in the image's unit (mm2, mm3).")
]
Engine = Annotated[str, typer.Option(help="auto, torch, or openvino (on the CPU).")]
Precision = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
ResultFormat = Annotated[
    str | None,
    typer.Option(
        help="nifti, tiff, ome-tiff, nrrd, metaimage, ome-zarr, png, dicom-seg or dicom-labelmap; by default"
        " that of the scan.",
    ),
]
SlicePlane = Annotated[
    str, typer.Option(help="Orientation of the slices: acquired, axial, coronal or sagittal.")
]
Table = Annotated[
    bool,
    typer.Option(
        "--table",
        help="Also write a table of areas or volumes, as CSV; with DICOM-SEG, as a structured report too.",
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(help="Stop early once samples change the mask by no more than this (1 - Dice): 0.01."),
]


def make_postprocess(min_size: float, *, fill_holes: bool, keep_largest: bool) -> PostProcess:
    """The post-processing of the mask that options ask for.

    Raises
    ------
    BadInput
        If the smallest size is none.
    """
    from napari_latentseg.core.postprocess import PostProcess

    if not 0 <= min_size < math.inf:
        raise BadInput("min-size", f"{min_size:g} is not a size", "give 0 or more")
    return PostProcess(smallest=min_size, fill_holes=fill_holes, keep_largest=keep_largest)


def parse_classes(text: str | None) -> list[str] | None:
    """The names of ``"liver, tumour"``; None for all classes."""
    return None if text is None else [name.strip() for name in text.split(",")]
