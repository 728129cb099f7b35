"""How well a model's autoencoders reconstruct annotated images and their masks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from napari_latentseg.core.slices import Planes
from napari_latentseg.data.cases import UNKNOWN_CLASS, Case, rgb_slices
from napari_latentseg.data.slices import Slice, make_slice
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.metrics import dice, iou, psnr
from napari_latentseg.evaluation.report import EvaluatedModel, LeftOut, ReconstructionReport
from napari_latentseg.evaluation.stability import ssim
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.reference_masks import check_shape, label_map_for

__all__ = ["ReconstructionEvaluation"]

_THRESHOLD = 0.5  # of decoded masks, whatever threshold the model has for its predictions


@dataclass
class ReconstructionEvaluation:
    """Encodes and decodes images and masks at the working size of a model, and scores what is left.

    Parameters
    ----------
    predictor
        The model.
    cases
        Images with their masks.
    """

    predictor: Predictor
    cases: Sequence[Case]
    left_out: list[LeftOut] = field(init=False, default_factory=list)
    _values: dict[str, list[float]] = field(init=False, default_factory=dict)

    def run(self) -> Iterator[float]:
        """Score image after image; one that cannot be used is left out, and the others are scored.

        Yields
        ------
        float
            Fraction of the images that are done, in (0, 1].

        Raises
        ------
        BadInput
            If no image can be used; the reason is that of the first.
        """
        first_error: BadInput | None = None
        for number, case in enumerate(self.cases):
            try:
                for annotated_slice in self._slices(case):
                    self._add(annotated_slice)
            except BadInput as error:
                first_error = first_error or error
                self.left_out.append(LeftOut(name=case.name, reason=str(error)))
            yield (number + 1) / len(self.cases)
        if first_error is not None and not self._values:
            raise first_error

    def _slices(self, case: Case) -> Iterator[Slice]:
        """The slices of a case as in training; those that nobody annotated are left out."""
        card = self.predictor.model.card
        scan, label_map = case.read_scan(), label_map_for(card, case)
        reference = case.read_class_numbers(label_map)
        check_shape(case, reference, scan)
        spacing = Planes(scan, 0.0, 1.0).spacing
        for rgb, class_numbers in zip(rgb_slices(scan, card.preprocess.window), reference, strict=True):
            if not (class_numbers == UNKNOWN_CLASS).any():
                yield make_slice(
                    rgb, class_numbers, label_map, card.preprocess, spacing,
                    content_sha256=case.content_sha256,
                )  # fmt: skip

    def _add(self, annotated_slice: Slice) -> None:
        method, compute = self.predictor.model.method, self.predictor.compute
        image, masks = annotated_slice.to_float()
        # a slice for tiles has any size; the autoencoders take multiples of their factor
        multiple = method.size_multiple
        height, width = (n - n % multiple for n in image.shape[-2:])
        if not (height and width):
            raise BadInput("image", f"is smaller than {multiple} pixels at working size", "leave it out")
        device = compute.torch_device()
        image, masks = image[None, :, :height, :width], masks[None, :, :height, :width]
        with torch.inference_mode(), compute.autocast():
            decoded = method.reconstruct(image.to(device), masks.to(device))
        given, result = (
            tensor[0].float().cpu().numpy().transpose(1, 2, 0)
            for tensor in (decoded.given_images, decoded.images)
        )
        self._append("image", psnr(result, given), ssim(result, given))
        probabilities = decoded.masks[0].float().cpu().numpy()
        for reference, probability, is_annotated in zip(
            masks[0].numpy(), probabilities, annotated_slice.annotated, strict=True
        ):
            if is_annotated and reference.any():
                mask = probability > _THRESHOLD
                self._values.setdefault("mask_dsc", []).append(dice(mask, reference > 0))
                self._values.setdefault("mask_iou", []).append(iou(mask, reference > 0))
                self._append("mask", psnr(probability, reference), ssim(probability, reference))

    def _append(self, kind: str, psnr_value: float, ssim_value: float) -> None:
        if math.isfinite(psnr_value):  # what equals its reference has no PSNR
            self._values.setdefault(f"{kind}_psnr", []).append(psnr_value)
        self._values.setdefault(f"{kind}_ssim", []).append(ssim_value)

    def report(self) -> ReconstructionReport:
        """The means over slices and over masks.

        Raises
        ------
        BadInput
            If no slice was scored.
        """
        values = self._values
        if "image_ssim" not in values:
            raise BadInput("data", "holds no annotated slice", "give images with masks")
        card = self.predictor.model.card

        def mean(name: str) -> float | None:
            return float(np.mean(values[name])) if values.get(name) else None

        return ReconstructionReport(
            model=EvaluatedModel(name=card.name, version=card.version, method=card.method_title),
            slice_count=len(values["image_ssim"]),
            mask_count=len(values.get("mask_ssim", [])),
            image_psnr=mean("image_psnr"),
            image_ssim=float(np.mean(values["image_ssim"])),
            mask_dsc=mean("mask_dsc"),
            mask_iou=mean("mask_iou"),
            mask_psnr=mean("mask_psnr"),
            mask_ssim=mean("mask_ssim"),
            left_out=tuple(self.left_out),
        )
