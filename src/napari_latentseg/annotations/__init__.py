"""What a person has approved, safely on the disk, in the layout that nnU-Net reads."""

from __future__ import annotations

from napari_latentseg.annotations.drafts import Draft
from napari_latentseg.annotations.facts import AnnotatedScan, Case, Entry
from napari_latentseg.annotations.records import ModelVersion
from napari_latentseg.annotations.store import AnnotationStore, store_folder, stores
from napari_latentseg.annotations.verify import Finding

__all__ = [
    "AnnotatedScan",
    "AnnotationStore",
    "Case",
    "Draft",
    "Entry",
    "Finding",
    "ModelVersion",
    "store_folder",
    "stores",
]
