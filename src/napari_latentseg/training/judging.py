"""Judging a trained model: its validation images are segmented and scored, for its card."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.record import SamplingSource
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.data.cases import Case
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.evaluation.fit import FitReference
from napari_latentseg.inference.evaluate import Evaluation
from napari_latentseg.inference.fit import fit_reference
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.io import read_scan_lazy
from napari_latentseg.methods.base import Method
from napari_latentseg.models.card import MetricRecord
from napari_latentseg.models.folder import Model
from napari_latentseg.models.split import Split
from napari_latentseg.training.datasets import AnnotatedDataset
from napari_latentseg.training.events import TrainJudging
from napari_latentseg.training.judging_calibration import JudgingCalibration
from napari_latentseg.utils.device import Compute
from napari_latentseg.utils.waited_thread import waited_thread

__all__ = ["GRACE_S", "Judging", "JudgingSample", "ThinnedCase", "stops_networks"]

GRACE_S = 20.0
"""Seconds that judging may take after a training that was stopped: the model is on the disk by then, and who
asked for a stop does not wait for hours."""

_HEARTBEAT_S = 0.1
_SECONDS_BETWEEN_EVENTS = 5.0


@dataclass(frozen=True)
class JudgingSample:
    """The validation images of a data set that are judged.

    Attributes
    ----------
    cases
        The chosen ones.
    case_count
        How many validation images the data set has.
    every
        Every n-th slice of each volume is segmented, since even a single volume has more than the limit.
    planes
        How many slices are segmented in all.
    """

    cases: tuple[Case, ...]
    case_count: int
    every: int = 1
    planes: int = 0

    @classmethod
    def choose(cls, cases: Sequence[Case], max_planes: int | None) -> JudgingSample:
        """Choose images evenly from all, as many as have no more slices together than the limit.

        Parameters
        ----------
        cases
            The validation images, at least one.
        max_planes
            The limit; None for none. At least one image is chosen, of which slices are left out where it
            alone has more.

        Raises
        ------
        BadInput
            If the header of an image cannot be read.
        """
        counts = [_plane_count(case) for case in cases]
        if max_planes is None or sum(counts) <= max_planes:
            return cls(tuple(cases), len(cases), planes=sum(counts))
        # an image has at least one slice
        for wanted in range(min(len(cases), max_planes), 0, -1):
            indices = [i * len(cases) // wanted for i in range(wanted)]
            if wanted > 1 and sum(counts[i] for i in indices) > max_planes:
                continue
            every = max(1, -(-counts[indices[0]] // max_planes)) if wanted == 1 else 1
            chosen = [cases[i] for i in indices]
            if every > 1:
                chosen = [ThinnedCase.of(case, every) for case in chosen]
            return cls(tuple(chosen), len(cases), every, sum(-(-counts[i] // every) for i in indices))
        raise AssertionError("one image is always chosen")

    def describe(self) -> str:
        """A description of the chosen images."""
        images = f"the {self.case_count} validation images"
        if len(self.cases) < self.case_count:
            images = f"{len(self.cases)} of {images}"
        return images if self.every == 1 else f"1 of every {self.every} slices of {images}"


def _header(case: Case) -> Scan:
    """The whole image of a case with its shape; its values need not be read."""
    return Case.read_scan(case) if case.image_file is None else read_scan_lazy(case.image_file)


def _plane_count(case: Case) -> int:
    return len(Planes(_header(case), 0.0, 1.0))  # for its shape alone, so the range does not matter


@dataclass(frozen=True, eq=False)
class ThinnedCase(Case):
    """A case of which every n-th slice counts; those of a volume over time at each time.

    Attributes
    ----------
    every
        n, from the first slice on.
    """

    every: int = 1

    @classmethod
    def of(cls, case: Case, every: int) -> ThinnedCase:
        """The same case with fewer slices."""
        return cls(**{f.name: getattr(case, f.name) for f in fields(case)}, every=every)

    def read_scan(self) -> Scan:
        """The image with every n-th slice, and the distance between these."""
        scan = super().read_scan()
        axis = len(scan.spatial_shape) - 3
        if axis < 0:
            return scan
        matrix = scan.geometry.matrix.copy()
        matrix[:, axis] *= self.every
        geometry = scan.geometry
        geometry = Geometry.from_matrix(matrix, geometry.units, geometry.axis_labels, geometry.frame)
        kept = (slice(None),) * axis + (slice(None, None, self.every),)
        return scan.replace(array=scan.array[kept], geometry=geometry, levels=())

    def read_class_numbers(self, label_map: LabelMap) -> NDArray[np.uint8]:
        """The mask of these slices; see `Case.read_class_numbers`."""
        numbers = super().read_class_numbers(label_map)
        shape = _header(self).spatial_shape
        if len(shape) < 3:
            return numbers
        kept = numbers.reshape(-1, *shape[-3:])[:, :: self.every]
        return kept.reshape(-1, *shape[-2:])

    def _image_header(self) -> Scan:
        return _header(self)


@dataclass
class Judging:
    """Segments and scores the validation images of a model with each of its sampling sources in turn.

    Parameters
    ----------
    model
        What was trained.
    compute
        Device and arithmetic.
    datasets
        The data sets of the training.
    hashes
        Of the training and validation images, see `Dataset.content_hashes`.
    settings
        Sampling sources and numbers of samples.
    selection_note
        What the card says about how the weights were selected.
    max_planes
        Most slices of each data set that are segmented with each source; None for all validation images.
    are_crops
        Whether the images were cut out around their target, see `fit_reference`.
    should_stop
        Asked every tenth of a second; True stops the networks at their next layer.
    records
        The figures that an earlier judging of the same weights has: that one was stopped after them.
    is_calibrated
        Whether that one calibrated the model, too.

    Attributes
    ----------
    records
        One for each source and data set, in this order.
    card_updates
        The fields of the card that come from calibrating it on the results of its default source and number
        of samples; empty until that is done, and where an earlier judging did it.
    notes
        A sentence on each figure that could not be had so, and why.
    fit
        What the training images are like; None until that is known.
    is_complete
        Whether everything was measured.
    """

    model: Model
    compute: Compute
    datasets: Sequence[AnnotatedDataset]
    hashes: dict[str, list[str]]
    settings: Sequence[tuple[SamplingSource, int]]
    selection_note: str
    max_planes: int | None = None
    are_crops: bool = False
    should_stop: Callable[[], bool] = lambda: False
    records: list[MetricRecord] = field(default_factory=list)
    is_calibrated: bool = False
    card_updates: dict[str, Any] = field(init=False, default_factory=dict)
    notes: list[str] = field(init=False, default_factory=list)
    fit: FitReference | None = field(init=False, default=None)
    is_complete: bool = field(init=False, default=False)

    def run(self) -> Iterator[TrainJudging]:
        """Judge; a stop ends it without an error, with the records so far.

        Yields
        ------
        TrainJudging
            At the beginning of each source, and every five seconds with the fraction that is done.
        """
        is_abandoned = threading.Event()
        samples: list[JudgingSample] = []
        try:
            with stops_networks(self.model.members, is_abandoned.is_set):
                for number, (source, count) in enumerate(self.settings):
                    first_record = number * len(self.datasets)
                    calibration = self._calibration(source, count)
                    if calibration is not None:  # of all data sets at once
                        del self.records[first_record:]
                    if len(self.records) >= first_record + len(self.datasets):
                        continue
                    yield TrainJudging(source=source, samples=count)
                    samples = samples or self._choose()
                    yield from self._judge_source(source, count, samples, calibration, is_abandoned)
                    if calibration is not None:
                        for _ in self._watched(calibration.compare_bfloat16(), is_abandoned):
                            pass
                        self.card_updates, self.notes = calibration.card_updates()
                        self.is_calibrated = True
                for _ in self._watched(self._describe_training_images(), is_abandoned):
                    pass
            self.is_complete = True
        except Cancelled:
            return

    def _calibration(self, source: SamplingSource, count: int) -> JudgingCalibration | None:
        """What calibrates the model on the results of a source, if it is used with that."""
        settings = InferenceSettings.for_model(self.model.card)
        if self.is_calibrated or (source, count) != (settings.source, settings.samples):
            return None
        split = Split(frozenset(self.hashes["train"]), frozenset(self.hashes["validation"]))
        try:
            return JudgingCalibration(Predictor(self.model, self.compute.device), settings, split)
        except BadInput as error:
            self.notes = [f"no calibration: {error}"]
            return None

    def _choose(self) -> list[JudgingSample]:
        validation = set(self.hashes["validation"])
        return [
            JudgingSample.choose([c for c in data.cases if c.content_sha256 in validation], self.max_planes)
            for data in self.datasets
        ]

    def _describe_training_images(self) -> Iterator[None]:
        training, validation = (self._cases(part) for part in ("train", "validation"))
        self.fit = fit_reference(self.model, self.compute, training, validation, are_crops=self.are_crops)
        yield

    def _cases(self, part: str) -> list[Case]:
        cases = {case.content_sha256: case for dataset in self.datasets for case in dataset.cases}
        hashes = set(self.hashes[part])
        return [case for key, case in cases.items() if key in hashes]

    def _judge_source(
        self,
        source: SamplingSource,
        count: int,
        samples: Sequence[JudgingSample],
        calibration: JudgingCalibration | None,
        is_abandoned: threading.Event,
    ) -> Iterator[TrainJudging]:
        """The records of one source that are not there yet."""
        predictor = Predictor(self.model, self.compute.device)
        settings = InferenceSettings.for_model(self.model.card, source=source, samples=count)
        options: dict[str, Any] = {}
        if calibration is not None:
            settings, options = calibration.settings, {"on_scored": calibration.add}
        total = count * sum(sample.planes for sample in samples)
        finished = len(self.records) % len(self.datasets)
        done = count * sum(sample.planes for sample in samples[:finished])
        reported = time.monotonic()
        for data, sample in list(zip(self.datasets, samples, strict=True))[finished:]:
            evaluation = Evaluation(predictor, settings, sample.cases, **options)
            for _ in self._watched(evaluation.run(), is_abandoned):
                if time.monotonic() - reported >= _SECONDS_BETWEEN_EVENTS:
                    reported = time.monotonic()
                    share = (done + evaluation.sample_count) / total
                    yield TrainJudging(source=source, samples=count, done=min(1.0, share))
            done += count * sample.planes
            name = data.config.name or data.name
            self.records.append(
                evaluation.record(f"{name}: {sample.describe()}, never trained on; {self.selection_note}")
            )

    def _watched(self, steps: Iterator[Any], is_abandoned: threading.Event) -> Iterator[None]:
        """Take all steps in another thread, until a stop is asked for; yields every tenth of a second."""
        with closing(_in_thread(steps, is_abandoned)) as heartbeats:
            for _ in heartbeats:
                if self.should_stop():
                    raise Cancelled
                yield


def _in_thread(steps: Iterator[Any], is_abandoned: threading.Event) -> Generator[None, None, None]:
    """Take all steps in another thread; yields every tenth of a second, so that the caller can stop.

    Closing it sets the event and waits for the thread; an error there is raised here.
    """
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in steps:
                if is_abandoned.is_set():
                    return
        except BaseException as error:
            errors.append(error)

    thread = waited_thread(work, "latentseg-judging", is_abandoned.set)
    thread.start()
    try:
        while True:  # asked once at least, however short it is
            yield
            if not thread.is_alive():
                break
            thread.join(_HEARTBEAT_S)
    finally:
        if thread.is_alive():
            is_abandoned.set()
            thread.join()
    if errors:
        raise errors[0]


@contextmanager
def stops_networks(methods: Sequence[Method], should_stop: Callable[[], bool]) -> Iterator[None]:
    """Let the networks of some methods stop at the next layer, in whichever thread they are computed.

    Sampling many classes of a large slice takes minutes, in which nothing else could ask.

    Parameters
    ----------
    methods
        Their modules are watched while the block runs.
    should_stop
        Asked before each layer; where it says so, the network raises `Cancelled`.
    """

    def ask(*_: object) -> None:
        if should_stop():
            raise Cancelled

    with ExitStack() as hooks:
        modules = {id(module): module for method in methods for module in method.modules()}
        for module in modules.values():
            hooks.callback(module.register_forward_pre_hook(ask).remove)
        yield
