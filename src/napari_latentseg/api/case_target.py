"""Where the result of a case of a batch goes in the layout ``flat``: a folder with what `segment` writes."""

from __future__ import annotations

import shutil
from pathlib import Path

from napari_latentseg.api.files import possible_outputs
from napari_latentseg.api.results import check_result, write_result
from napari_latentseg.batches.case import BatchCase, BatchJob
from napari_latentseg.batches.case_state import read_state
from napari_latentseg.batches.target import CaseTarget, LayoutTarget
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.io.commit_files import is_abandoned
from napari_latentseg.io.earlier_results import find_earlier_result
from napari_latentseg.io.result_names import name_prefix
from napari_latentseg.models.card import ModelCard

__all__ = ["FlatTarget", "target_of"]


def target_of(job: BatchJob, case: BatchCase, card: ModelCard) -> CaseTarget:
    """Where the result of a case goes in the layout of the batch."""
    return FlatTarget(job, case, card) if job.layout == "flat" else LayoutTarget(job, case, card)


class FlatTarget:
    """A folder for each case, so that Review opens it whole, and no folder holds the files of thousands.

    Parameters
    ----------
    job, case, card
        Of the batch, the case, the model.
    """

    def __init__(self, job: BatchJob, case: BatchCase, card: ModelCard) -> None:
        self._job, self._case, self._card = job, case, card
        self._folder = job.out / case.name
        self._is_own = read_state(job.out, case.name) is not None
        self._result: tuple[Segmentation, Scan] | None = None

    def check(self, image: Scan) -> None:
        """See `CaseTarget`.

        Raises
        ------
        BadInput
            If there is a file that the batch did not write or that was changed since, or nothing can be
            written.
        """
        earlier = find_earlier_result(self._folder, name_prefix(self._case.name), compare=False).record

        def input_sha256() -> str:
            # a result of the batch itself may be replaced by that of another version of the image
            return earlier.input.sha256 if self._is_own and earlier is not None else image.content_sha256

        options = {name: value for name, value in self._job.outputs.items() if name != "deidentify"}
        check_result(
            image, self._folder, self._case.name, classes=self._card.classes, input_sha256=input_sha256,
            **options,
        )  # fmt: skip

    def prepare(self, segmentation: Segmentation, image: Scan) -> dict[str, str]:
        """See `CaseTarget`; the files are written by `commit`, all or none."""
        for path in self._folder.glob(
            ".part-*"
        ):  # of a process that was killed: the folder is the case's own
            if is_abandoned(path):
                shutil.rmtree(path, ignore_errors=True)
        self._result = (segmentation, image)
        return {}

    def commit(self) -> tuple[list[Path], tuple[str, ...]]:
        """See `CaseTarget`.

        Raises
        ------
        BadInput
            If the files cannot be written.
        """
        assert self._result is not None  # `prepare` comes first
        segmentation, image = self._result
        options, left_out = possible_outputs(segmentation, self._card, self._job.outputs)
        written = write_result(
            segmentation, self._folder, self._case.name, case=self._case.name if self._case.is_code else "",
            scan=image, card=self._card, overwrite=self._is_own, **options,
        )  # fmt: skip
        return written, left_out
