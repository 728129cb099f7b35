"""Calibration of a model: how reliable its probabilities and the intervals of its volumes are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.data.cases import Case
from napari_latentseg.data.held_reads import HeldReads
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.report import LeftOut
from napari_latentseg.inference.bfloat16 import Bfloat16Comparison
from napari_latentseg.inference.calibration_figures import (
    CalibrationFigures,
    check_sample_count,
    uncalibrated,
)
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.reference_masks import check_shape, label_map_for
from napari_latentseg.inference.segment_each import segment_each
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.split import Split

__all__ = ["Calibration"]


class Calibration(CalibrationFigures):
    """Calibration of a model on annotated images that it was not trained on.

    Parameters
    ----------
    predictor
        The model.
    settings
        Samples (three or more), sampling source, threshold.
    cases
        Images with their reference masks, as for `Evaluation`.
    split
        Training and validation images of the model. None of `cases` may be a training image.

    Attributes
    ----------
    left_out
        The images that cannot be used, and why.
    bfloat16
        How much bfloat16 changes the results; None before `run` is done, and where the predictor does not
        compute in float32 or the hardware does not multiply bfloat16 natively.

    Raises
    ------
    BadInput
        If there are fewer than three samples or no images, or if an image was trained on.
    """

    def __init__(
        self,
        predictor: Predictor,
        settings: InferenceSettings,
        cases: Sequence[Case],
        split: Split | None = None,
    ) -> None:
        check_sample_count(settings)
        if not cases:
            raise BadInput("data", "holds no annotated image", "give images with reference masks")
        card = predictor.model.card
        super().__init__(
            card.classes, card.training_data, settings, split or Split(), predictor.compute.precision
        )
        self.predictor = predictor
        self.left_out: list[LeftOut] = []
        self._reference_readers: list[Callable[[], NDArray[np.uint8]]] = []
        self._usable_cases = self._readable(cases)
        trained_count = sum(self.split.part_of(case) == "train" for case in self._usable_cases)
        if trained_count:
            raise BadInput(
                "data",
                f"{trained_count} of the {len(self._usable_cases)} images were used to train the model, so"
                " the result would look too good",
                "leave them out (--subset validation takes its validation images)",
            )

    def _readable(self, cases: Sequence[Case]) -> list[Case]:
        """The images that can be read and have a mask that fits; the others are left out.

        All are read for it, so that what cannot be used is known before the hours that the samples take, and
        held for the samples as far as there is room.
        """
        usable, first_error, held = [], None, HeldReads()
        for case in cases:
            try:
                read_reference = partial(
                    case.read_class_numbers, label_map_for(self.predictor.model.card, case)
                )
                reference, scan = read_reference(), case.read_scan()
                check_shape(case, reference, scan)
                usable.append(held.hold_image(case, scan))
                self._reference_readers.append(held.hold(reference, reference.nbytes, read_reference))
            except BadInput as error:
                first_error = first_error or error
                self.left_out.append(LeftOut(name=case.name, reason=str(error)))
        if first_error is not None and not usable:
            raise first_error
        return usable

    def run(self) -> Iterator[float]:
        """Segment image after image, and collect probabilities and volumes.

        Yields
        ------
        float
            Fraction of the images that are done, in (0, 1].

        Raises
        ------
        BadInput
            If an image can no longer be read.
        """
        cases, card = self._usable_cases, self.predictor.model.card
        # the volumes of the samples are counted as they are drawn
        settings = uncalibrated(self.settings).replace(keep_samples=False)
        read_scans = ((number, case.read_scan()) for number, case in enumerate(cases))
        scans = (((number, scan), scan) for number, scan in read_scans)
        comparison = Bfloat16Comparison(self.predictor, settings)
        total = len(cases) + comparison.image_count(len(cases))
        for (number, scan), segmentation in segment_each(self.predictor, scans, settings):
            if isinstance(segmentation, BadInput):
                raise segmentation
            case = cases[number]
            self.add(case, segmentation, self._reference_readers[number](), label_map_for(card, case))
            comparison.keep(scan, segmentation)
            yield (number + 1) / total
        done = len(cases)
        for _ in comparison.run():
            done += 1
            yield done / total
        self.bfloat16 = comparison.check()
        if done < total:
            yield 1.0
