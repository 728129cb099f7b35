"""Slices of an image that answer prompts, with what was computed of them kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.pointed_object import PointedObject
from napari_latentseg.core.prompts import Prompts
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.data.resize import resize
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.crossing_slices import CrossingSlices
from napari_latentseg.inference.follow_volume import FollowedVolume
from napari_latentseg.inference.prompt_session import PromptAnswer, PromptSession
from napari_latentseg.inference.slice_part import ObjectMask, SliceAnswer, SlicePart
from napari_latentseg.models.folder import Model
from napari_latentseg.utils.device import resolve_compute

__all__ = ["PromptImage"]

Array = NDArray[np.float32]


class PromptImage:
    """An image and a model that takes prompts.

    Parameters
    ----------
    scan
        A single image or a volume.
    model
        Its weights are moved to the device.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Raises
    ------
    BadInput
        If the image is a time series, has no range of values, or the device is not there.
    """

    def __init__(self, scan: Scan, model: Model, device: str = "auto") -> None:
        if "t" in scan.axes:
            raise BadInput(scan.name, "is a time series", "point at a single image or a volume")
        preprocess = model.card.preprocess
        self._compute = resolve_compute(device, is_bfloat16_allowed=model.card.allows_bfloat16)
        self._model = model
        model.to(self._compute)
        self._planes = Planes.from_scan(scan, preprocess.window, preprocess.neighbours)
        self._latest: tuple[SlicePart, PromptSession] | None = None

    def prepare(self, part: SlicePart) -> None:
        """Read and encode a part of a slice, so that its answers are quick."""
        self._session(part).prepare()

    def answer(
        self, part: SlicePart, pointed: PointedObject, samples: int, previous: Array | None = None
    ) -> SliceAnswer | None:
        """The answer to prompts on a part of a slice; None where nothing inside is given yet.

        Parameters
        ----------
        part
            Read again unless it is that of the last call.
        pointed
            In voxels of the slice.
        samples
            How many; see `PromptSession.answer`.
        previous
            The mask that is corrected, if there is one; see `PromptSession.answer`.

        Raises
        ------
        BadInput
            As `PromptSession.answer`.
        """
        prompts = pointed.prompts(part.origin, part.step)
        if prompts is None:
            return None
        answer = self._session(part).answer(prompts, samples, previous)
        threshold = self._model.card.threshold
        mean = answer.mean
        mask = _mask_of(mean, threshold, part)
        return SliceAnswer(part, answer.samples, mean, answer.variance, threshold, mask)

    def follow(
        self,
        decided: Mapping[int, NDArray[np.bool_]],
        samples: int,
        *,
        outside: Mapping[int, Sequence[tuple[float, float]]] | None = None,
        beyond: bool = True,
        between: bool = True,
        before_answer: Callable[[], None] = lambda: None,
    ) -> FollowedVolume:
        """Follow a structure through the slices of a volume; iterate over what is returned.

        Parameters
        ----------
        decided
            Masks of the slices that a person has decided, `(H, W)`, by the number of the slice.
        samples
            Of each answer.
        outside, beyond, between
            As for `FollowedVolume`.
        before_answer
            Called before each answer of the model, many of which one slice may need; it ends all by raising.

        Raises
        ------
        BadInput
            If there is nothing to follow.
        """
        height, width = self._planes.plane_shape

        def answers(plane: int, asked: Prompts, previous: Array | None) -> PromptAnswer:
            before_answer()
            return self._session(SlicePart(plane, (0, 0, height, width))).answer(asked, samples, previous)

        def grey(plane: int) -> Array:
            image: Array = self._planes[plane].mean(axis=-1)
            return image

        crossing = CrossingSlices.of_planes(self._planes, self._model, self._compute, samples)

        def across(image: Array, asked: Prompts, previous: Array) -> PromptAnswer:
            before_answer()
            return crossing.answer(image, asked, previous)

        return FollowedVolume(
            answers, grey, decided, len(self._planes), self._model.card.threshold,
            tuple(self._planes.scan.geometry.spacing[-3:]), outside or {}, beyond, between,
            replace(crossing, answer=across),
        )  # fmt: skip

    def _session(self, part: SlicePart) -> PromptSession:
        if self._latest is None or self._latest[0] != part:
            plane = np.ascontiguousarray(self._read(part).transpose(2, 0, 1))
            self._latest = part, PromptSession(self._model, plane, self._compute)
        return self._latest[1]

    def _read(self, part: SlicePart) -> Array:
        top, left, bottom, right = part.box
        if part.step == 1:
            return self._planes.read_rgb(part.plane, slice(top, bottom), slice(left, right))
        first = (part.step - 1) // 2
        rows, columns = slice(top + first, bottom, part.step), slice(left + first, right, part.step)
        scan = self._planes.scan
        leading = (slice(None),) * len(scan.spatial_shape[:-2])
        coarse = scan.replace(array=scan.array[(*leading, rows, columns)], levels=())
        return replace(self._planes, scan=coarse)[part.plane]


def _mask_of(mean: Array, threshold: float, part: SlicePart) -> ObjectMask | None:
    """Where a mean is above the threshold, at the resolution of the slice."""
    above = mean > threshold
    rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    if not len(rows):
        return None
    first_row, last_row = int(rows[0]), int(rows[-1]) + 1
    first_column, last_column = int(columns[0]), int(columns[-1]) + 1
    top, left = part.box[0] + first_row * part.step, part.box[1] + first_column * part.step
    cut = mean[first_row:last_row, first_column:last_column]
    if part.step > 1:
        height, width = cut.shape
        cut = resize(cut, (height * part.step, width * part.step))
    cut = cut[: part.box[2] - top, : part.box[3] - left]
    return ObjectMask(top, left, cut > threshold)
