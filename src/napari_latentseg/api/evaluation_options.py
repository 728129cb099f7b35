"""The settings of an evaluation, and the model that another is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.api.chosen_model import (
    check_without_prompts,
    load_chosen_model,
    locate_chosen_model,
)
from napari_latentseg.core.temperature import NO_TEMPERATURE
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import shown, whole_number

if TYPE_CHECKING:
    from napari_latentseg.data.cases import Case
    from napari_latentseg.data.label_names import LabelsOption
    from napari_latentseg.evaluation.protocols import Protocol
    from napari_latentseg.evaluation.report import EvaluationReport
    from napari_latentseg.inference.evaluate import Evaluation
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel
    from napari_latentseg.utils.progress import Progress

__all__ = ["Options", "Other", "run_evaluation", "sample_counts"]


@dataclass(frozen=True)
class Options:
    """What holds for both models that are compared."""

    counts: tuple[int, ...]
    source: str | None
    threshold: float | None
    seed: int
    device: str
    precision: str
    protocol: Protocol | None

    def settings(self, card: ModelCard) -> InferenceSettings:
        """The settings of a model: what was given, what the paper says, what its card says.

        Raises
        ------
        BadInput
            If the model does not support them.
        """
        from napari_latentseg.inference.settings import InferenceSettings

        defaults = {} if self.protocol is None else _paper_settings(self.protocol, card, self.source)
        given = {
            "samples": self.counts[-1] if self.counts else None,
            "source": self.source,
            "threshold": self.threshold,
        }
        return InferenceSettings.for_model(
            card,
            **{name: defaults.get(name) if value is None else value for name, value in given.items()},
            temperature=defaults.get("temperature"),
            seed=self.seed, device=self.device, precision=self.precision,
        )  # fmt: skip


class Other:
    """The model that another is compared with, or its scores in a file.

    Raises
    ------
    BadInput
        If there is no such model or file, or the settings are not possible for it.
    """

    def __init__(
        self,
        against: Model | LocatedModel | str | Path,
        data: str | Path,
        labels: LabelsOption | None,
        cases: Sequence[Case],
        options: Options,
    ) -> None:
        from napari_latentseg.api.annotated_images import annotated_images
        from napari_latentseg.api.evaluation_statistics import earlier_evaluation

        self._options = options
        self.report = earlier_evaluation(against, cases) if isinstance(against, str | Path) else None
        if self.report is not None:
            self.title = str(against)
            return
        self._model = locate_chosen_model(against)
        check_without_prompts(self._model.card)
        self.title = str(against) if isinstance(against, str | Path) else self._model.card.name
        self._settings = options.settings(self._model.card)
        _, self._cases, self._split = annotated_images(
            self._model, data, "all", "", labels, lambda text: None
        )

    def scores(self, ours: EvaluationReport, progress: Progress) -> EvaluationReport:
        """Its scores on the images that were scored of the first model."""
        if self.report is not None:
            return self.report
        from napari_latentseg.inference.evaluate import Evaluation
        from napari_latentseg.inference.predictor import Predictor

        names = {image.name for image in ours.images}
        options = self._options
        evaluation = Evaluation(
            Predictor(load_chosen_model(self._model), options.device, options.precision),
            self._settings,
            [case for case in self._cases if case.name in names],
            self._split,
            protocol=options.protocol,
        )
        run_evaluation(evaluation, progress)
        return evaluation.report()


def run_evaluation(evaluation: Evaluation, progress: Progress) -> None:
    """Score all images; `progress` is called with each sample too, so that what it raises ends it soon."""
    done = 0.0
    evaluation.on_sample = lambda: progress(done)
    for done in evaluation.run():
        progress(done)


def sample_counts(samples: int | Sequence[int] | None) -> tuple[int, ...]:
    """The numbers of samples, ascending and each once; none where none is given.

    Raises
    ------
    BadInput
        If one is not a whole number of 1 or more.
    """
    if samples is None:
        return ()
    counts: Sequence[Any] = samples if isinstance(samples, list | tuple) else [samples]
    numbers = sorted({whole_number("samples", count) for count in counts})
    if not numbers or (len(numbers) > 1 and numbers[0] < 1):
        raise BadInput(
            "samples", f"{shown(samples)} is not a list of numbers of samples", "write 5, or 1,2,5,10"
        )
    return tuple(numbers)


def _paper_settings(protocol: Protocol, card: ModelCard, source: str | None) -> dict[str, Any]:
    """Samples, their source and threshold of a paper, as far as the model has them."""
    # a paper of one pass: the prediction without sampling, which a model of SDSeg does not have
    is_one_pass = source is None and protocol.samples == 1 and "none" in card.sources
    chosen_source = "none" if is_one_pass else source or card.sources[0]
    most = {"none": 1, "members": card.members}.get(chosen_source, protocol.samples)
    samples = None if protocol.samples is None or most is None else min(protocol.samples, most)
    return {
        "source": chosen_source,
        "samples": samples if source is None else None,
        "threshold": protocol.threshold,
        "temperature": NO_TEMPERATURE,  # the papers take probabilities as the networks give them
    }
