"""Judging a model that is pointed at: a simulated person clicks on the objects of the validation images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from napari_latentseg.inference.click_scores import CLICKS, ClickScores
from napari_latentseg.models.card import MetricRecord
from napari_latentseg.models.folder import Model
from napari_latentseg.training.datasets import AnnotatedDataset
from napari_latentseg.training.events import TrainJudging
from napari_latentseg.utils.device import Compute

__all__ = ["ClickJudging"]

_SECONDS_BETWEEN_EVENTS = 5.0
_MOST_CASES = 60  # of a data set: an object takes some seconds on a CPU, and a data set has thousands


@dataclass
class ClickJudging:
    """Scores a model with the clicks of a simulated person.

    Parameters
    ----------
    model, compute, datasets
        As for `napari_latentseg.training.judging.Judging`.
    validation
        Hashes of the validation images.
    samples
        Of each answer.
    selection_note
        What the card says about how the weights were selected.
    max_cases
        Most images or volumes of each data set, chosen evenly; None for 60.
    should_stop
        Asked after each object.

    Attributes
    ----------
    records
        For each data set the figures after 1, 3 and 5 clicks.
    is_complete
        Whether everything was measured.
    """

    model: Model
    compute: Compute
    datasets: Sequence[AnnotatedDataset]
    validation: frozenset[str]
    samples: int
    selection_note: str
    max_cases: int | None = None
    should_stop: Callable[[], bool] = lambda: False
    records: list[MetricRecord] = field(init=False, default_factory=list)
    is_complete: bool = field(init=False, default=False)

    def run(self) -> Iterator[TrainJudging]:
        """Judge; a stop ends it, with the records of the data sets that were finished."""
        reported = float("-inf")
        self.model.to(self.compute)
        for number, data in enumerate(self.datasets):
            cases = [case for case in data.cases if case.content_sha256 in self.validation]
            if not cases:
                continue
            count = min(len(cases), self.max_cases or _MOST_CASES)
            chosen = [cases[i * len(cases) // count] for i in range(count)]
            scores = ClickScores(self.model, self.compute, chosen, self.samples)
            for done in scores.run():
                if self.should_stop():
                    return
                if time.monotonic() - reported >= _SECONDS_BETWEEN_EVENTS:
                    reported = time.monotonic()
                    share = (number + done) / len(self.datasets)
                    yield TrainJudging(source="readings", samples=self.samples, done=share)
            name = data.config.name or data.name
            part = f"{count} of " if count < len(cases) else ""
            images = f"{part}the {len(cases)} validation images"
            self.records += scores.records(f"{name}: {images}, never trained on; {self.selection_note}")
        self.is_complete = True

    @property
    def first_click_records(self) -> list[MetricRecord]:
        """The figures after one click, of each data set."""
        return self.records[:: len(CLICKS)]
