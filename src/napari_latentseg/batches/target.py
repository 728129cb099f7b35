"""The files of a case where a layout of others says how they are called: written apart, then put in place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from napari_latentseg.batches.bids_layout import bids_files, bids_names
from napari_latentseg.batches.case import BatchCase, BatchJob
from napari_latentseg.batches.case_state import CaseState, read_state
from napari_latentseg.batches.nnunet_layout import nnunet_files, nnunet_names
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import FULL_DISK_ERRORS, BadInput
from napari_latentseg.io.file_hashes import path_sha256
from napari_latentseg.io.image_header import ImageHeader
from napari_latentseg.io.result_format import check_format
from napari_latentseg.models.card import ModelCard

__all__ = ["LAYOUTS", "CaseTarget", "LayoutTarget", "check_layout"]

LAYOUTS = ("flat", "bids", "nnunet")
"""How results lie: a folder for each case, BIDS derivatives, or label maps as nnU-Net names them."""

_NAMES = {"bids": bids_names, "nnunet": nnunet_names}
_FILES = {"bids": bids_files, "nnunet": nnunet_files}
# What these layouts have no names for.
_FLAT_ONLY = ("agreement", "doubt", "contours", "band", "table")
_FORMATS = {"bids": (None, "nifti"), "nnunet": (None, "nifti", "ome-tiff", "nrrd", "metaimage", "png")}


class CaseTarget(Protocol):
    """Where the result of a case goes."""

    def check(self, image: Scan) -> None:
        """Refuse what cannot be written, or would replace what the batch did not write."""
        ...

    def prepare(self, segmentation: Segmentation, image: Scan) -> dict[str, str]:
        """Write what can be written apart; gives the hashes of these files by their relative paths."""
        ...

    def commit(self) -> tuple[list[Path], tuple[str, ...]]:
        """Put the files in place; gives them, the record last, and what was left out and why."""
        ...


def check_layout(layout: str, outputs: Mapping[str, Any]) -> None:
    """Refuse options that a layout has no place for.

    Raises
    ------
    BadInput
        If there are such, or the layout is not known.
    """
    if layout not in LAYOUTS:
        raise BadInput("layout", f"{layout!r} is not known", f"use one of {', '.join(LAYOUTS)}")
    if layout == "flat":
        return
    for name in _FLAT_ONLY:
        if outputs.get(name):
            raise BadInput(name, f"has no place in the layout {layout}", "leave it out, or use --layout flat")
    format, possible = outputs.get("format"), _FORMATS[layout]
    if format not in possible:
        names = ", ".join(name for name in possible if name is not None)
        raise BadInput("format", f"{format!r} has no place in the layout {layout}", f"use {names}")


class LayoutTarget:
    """The files of a case in the layouts of BIDS and nnU-Net.

    Several cases share a folder there. So the files are written into a folder of the case's own, their hashes
    into its state, and then they are moved: after a process was killed, the state tells which files are the
    batch's own.

    Parameters
    ----------
    job, case, card
        Of the batch, the case, the model.
    """

    def __init__(self, job: BatchJob, case: BatchCase, card: ModelCard) -> None:
        self._job, self._case, self._card = job, case, card
        self._state = read_state(job.out, case.name)
        self._work = job.work / f"{case.name}-{os.getpid()}"
        self._names: list[str] = []

    def check(self, image: Scan) -> None:
        """See `CaseTarget`.

        Raises
        ------
        BadInput
            If there is a file that the batch did not write, or that was changed since.
        """
        header = ImageHeader.of(image)
        check_format(self._job.outputs.get("format") or _default_format(self._job.layout), image)
        for name in _NAMES[self._job.layout](self._job, self._case, self._card, header):
            self._check_own(name)

    def prepare(self, segmentation: Segmentation, image: Scan) -> dict[str, str]:
        """See `CaseTarget`.

        Raises
        ------
        BadInput
            If a file cannot be written.
        """
        files: dict[str, Callable[[Path], object]] = _FILES[self._job.layout](
            self._job, self._case, self._card, segmentation
        )
        shutil.rmtree(self._work, ignore_errors=True)
        try:
            for name, write in files.items():
                (self._work / name).parent.mkdir(parents=True, exist_ok=True)
                write(self._work / name)
            self._names = list(files)
            return {name: path_sha256(self._work / name) for name in files}
        except OSError as error:
            raise self._write_error(error) from error

    def commit(self) -> tuple[list[Path], tuple[str, ...]]:
        """See `CaseTarget`.

        Raises
        ------
        BadInput
            If a file cannot be put in place.
        """
        out = self._job.out
        earlier = (
            self._state if self._state is not None else CaseState(fingerprint="", is_finished=False, files={})
        )
        try:
            for name in self._names:
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (self._work / name).replace(out / name)
            for name, sha256 in (earlier.files | earlier.earlier_files).items():
                is_replaced = name in self._names or not (out / name).is_file()
                if not is_replaced and path_sha256(out / name) == sha256:
                    (out / name).unlink()
        except OSError as error:
            raise self._write_error(error) from error
        finally:
            shutil.rmtree(self._work, ignore_errors=True)
        return [out / name for name in self._names], ()

    def _check_own(self, name: str) -> None:
        path = self._job.out / name
        if not os.path.lexists(path):
            return
        if not path.is_file() or self._state is None or not self._state.owns(name, path_sha256(path)):
            why = "already exists, and is not an unchanged file of this batch"
            raise BadInput(path, why, "move it away, or choose another folder")

    def _write_error(self, error: OSError) -> BadInput:
        shutil.rmtree(self._work, ignore_errors=True)
        is_full = error.errno in FULL_DISK_ERRORS
        remedy = "free some disk space, or choose another folder" if is_full else "choose another folder"
        return BadInput(self._job.out, f"could not be written ({error.strerror})", remedy)


def _default_format(layout: str) -> str | None:
    return "nifti" if layout == "bids" else None
