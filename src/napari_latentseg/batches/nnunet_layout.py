"""Results as nnU-Net writes its own: a label map CASE.nii.gz; beside it the record of the run, CASE.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_latentseg.batches.case import BatchCase, BatchJob
from napari_latentseg.batches.layout_files import array_writer, record_of, text_writer
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.io.image_header import ImageHeader
from napari_latentseg.io.result_format import result_suffix
from napari_latentseg.models.card import ModelCard

__all__ = ["nnunet_files", "nnunet_names"]


def nnunet_names(job: BatchJob, case: BatchCase, card: ModelCard, header: ImageHeader) -> list[str]:
    """The names of the files of a case, the record last."""
    return [f"{case.name}{result_suffix(job.outputs.get('format'), header)}", f"{case.name}.json"]


def nnunet_files(
    job: BatchJob, case: BatchCase, card: ModelCard, segmentation: Segmentation
) -> dict[str, Callable[[Path], object]]:
    """What writes the files of a case, by their names, the record last."""
    label_map, record = nnunet_names(job, case, card, ImageHeader.of(segmentation))
    return {
        label_map: array_writer(segmentation, segmentation.mask),
        record: text_writer(record_of(segmentation, case).model_dump_json(indent=2) + "\n"),
    }
