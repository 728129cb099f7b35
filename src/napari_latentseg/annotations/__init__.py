"""Masks that a person has approved, kept safely on disk in the layout of an nnU-Net raw data set."""

from __future__ import annotations

from napari_latentseg.annotations.directory import is_store
from napari_latentseg.annotations.drafts import Draft
from napari_latentseg.annotations.records import CaseRecord, ModelVersion
from napari_latentseg.annotations.store import AnnotationStore
from napari_latentseg.annotations.store_folders import list_stores, store_folder
from napari_latentseg.annotations.types import Approval
from napari_latentseg.annotations.verify import IntegrityFinding

__all__ = [
    "AnnotationStore",
    "Approval",
    "CaseRecord",
    "Draft",
    "IntegrityFinding",
    "ModelVersion",
    "is_store",
    "list_stores",
    "store_folder",
]
