"""A whole training: from a folder of annotated images to a model folder with its card."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.errors import BadInput, Cancelled, first_problem
from napari_latentseg.inference.evaluate import Evaluation
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.request import Request
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.registry import method_class
from napari_latentseg.models.card import NAME_PATTERN, MetricRecord, ModelCard, TrainingData
from napari_latentseg.models.folder import Model, save_model_folder
from napari_latentseg.models.layout import REPLAY, SPLIT
from napari_latentseg.precision import choose_compute
from napari_latentseg.record import SamplingSource
from napari_latentseg.training.about import licence_of, training_data
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.course import Course, check_same
from napari_latentseg.training.dataset import read_dataset
from napari_latentseg.training.log import training_curve, training_log
from napari_latentseg.training.place import (
    TRAINING,
    check_place,
    checkpoint_folder,
    is_stopped_model,
    read_state,
)
from napari_latentseg.training.replay import make_replay
from napari_latentseg.training.sets import DataSet, class_infos, data_sets

__all__ = ["TrainingJob"]

Event = dict[str, Any]


class TrainingJob:
    """Read, train, judge, write. Iterating does the work and yields events, plain dictionaries.

    Parameters
    ----------
    data
        Holds `images/` and `masks/`; or several that do.
    out
        The model folder to be; must not be there yet, or be empty.
    config
        What is trained.
    codec, spec
        The frozen codec, and what the card says of it; None for a method that trains its own.
    name
        The model's name; made of that of the folder where not given.
    device
        See `choose_compute`.
    stop
        Asked after each batch and each image; True ends the training. What was best is written as a model,
        and a checkpoint beside it, from which the training can go on.
    resume
        Go on from the checkpoint, exactly as if the training had not been stopped: on the same machine and
        device, where that gives the same result twice. Everything else must be given as it was.
    checkpoint_every
        Seconds from one checkpoint to the next, which are written at the end of an epoch.

    Raises
    ------
    BadInput
        At once, for whatever could be known before the work: a name that no card can have, a folder that is
        there already, settings that the method does not know, nothing to go on from, or something else.
    """

    def __init__(
        self,
        data: Path | Sequence[Path],
        out: Path,
        config: TrainingConfig,
        codec: Codec | None,
        spec: CodecSpec | None,
        *,
        name: str | None = None,
        device: str = "auto",
        stop: Callable[[], bool] = lambda: False,
        resume: bool = False,
        checkpoint_every: float = 60.0,
    ) -> None:
        self.folders = [Path(data)] if isinstance(data, str | Path) else [Path(one) for one in data]
        self.out, self.config = Path(out), config
        self.codec, self.spec = codec, spec
        self.name = name.lower() if name else model_name(self.out)
        if not re.fullmatch(NAME_PATTERN, self.name):
            raise BadInput("name", f"{self.name!r} is no model's", "use letters, digits, dots and dashes")
        self.compute = choose_compute(device, config.precision)
        self.stop, self.resume = stop, resume
        check_place(self.out, resume=resume)
        self.checkpoint = Checkpoint(checkpoint_folder(self.out), every=checkpoint_every)
        try:
            method_class(config.method).config_class.model_validate(config.settings)
        except ValidationError as error:
            field, why = first_problem(error)
            raise BadInput(f"{config.method} settings, {field}", why, "correct that field") from error
        self._identity = {
            "config": config.model_dump(mode="json"),
            "name": self.name,
            "codec": spec.sha256 if spec else None,
        }
        if resume:
            state = read_state(self.checkpoint.folder)
            check_same(self._identity, state.get("identity", {}), self.checkpoint.folder)
            self.checkpoint.training = state["training"]

    def __iter__(self) -> Iterator[Event]:
        total = {"value": 0}

        def progress(done: int, count: int) -> bool:
            total["value"] = count
            return not self.stop()

        data = read_dataset(self.folders, self.config, progress)
        yield {
            "event": "data",
            "images": total["value"],
            "train": len(data.train),
            "apart": len(data.apart),
            "note": _copies_in_words(data.copies),
        }
        course = Course(
            self.config, data, self.codec, self.compute, self.stop, self.checkpoint, self._identity
        )
        yield from course.run(resume=self.resume)
        if not course.methods:
            raise Cancelled
        keys = data.keys()
        sets = data_sets(self.folders, self.config)
        card = self._card(course, training_data(sets, data, self.config))
        metrics = []
        for source, samples in self._ways(course.methods):
            yield {"event": "judging", "source": source, "samples": samples}
            metrics += [self._judge(course, card, one, keys["validation"], source, samples) for one in sets]
        card = card.replace(metrics=tuple(metrics))
        extras = {
            # the codec by its name: where it lay on this machine is nobody's business
            TRAINING: _json(
                self.config.model_dump(mode="json")
                | {"codec": self.spec.name if self.spec else None}
                | {"published_weights": Path(self.config.published_weights).name, "run": self._run(course)}
            ),
            "training_log.csv": training_log(course.events),
            "training_curve.png": training_curve(course.events),
            SPLIT: _json(data.split().to_json()),
        }
        firsts = metrics[: len(sets)]
        first, *others = course.methods
        if not others and type(first).tuning is not Method.tuning:
            extras[REPLAY] = make_replay(first, card, data.train, data.apart, self.compute)
        replace = self.resume and is_stopped_model(self.out, self.checkpoint.training)
        save_model_folder(self.out, first, card, extras, others=others, replace=replace)
        if not course.stopped:
            self.checkpoint.remove()
        yield {
            "event": "saved",
            "folder": str(self.out),
            "dsc": round(_over_all([m.values["dsc"] for m in firsts], [m.images for m in firsts]), 4),
            "epochs": len(course.events),
            "stopped": course.stopped,
        }

    def _card(self, course: Course, learned_from: tuple[TrainingData, ...]) -> ModelCard:
        config, about = self.config, self.config.card
        return ModelCard(
            name=self.name,
            title=about.title or self.name,
            method=config.method,
            variant=course.methods[0].variant,
            settings=config.settings,
            codec=self.spec,
            preprocess=config.preprocess,
            augment=config.augment,
            modality=about.modality,
            classes=class_infos(config),
            sources=self._sources(course.methods),
            members=len(course.methods),
            default_samples=about.default_samples,
            threshold=about.threshold,
            training_data=learned_from,
            licence=licence_of(about.licence, [one.licence for one in learned_from]),
            intended_use=about.intended_use,
            limits=about.limits,
        )

    def _sources(self, methods: Sequence[Method]) -> tuple[SamplingSource, ...]:
        return methods[0].sources(varied=self._varied, members=len(methods))  # type: ignore[return-value]

    @property
    def _varied(self) -> bool:
        """Whether test-time augmentation has anything to vary inside the training's ranges."""
        return self.config.augment.distinct != 1

    def _ways(self, methods: Sequence[Method]) -> list[tuple[SamplingSource, int]]:
        """The ensembles that are judged: a single pass, eight samples or as many as differ, all members."""
        ways: list[tuple[SamplingSource, int]]
        if not methods[0].is_deterministic:
            (source, *_) = self._sources(methods)
            ways = [(source, 1), (source, self.config.card.default_samples)]
        else:
            ways = [("none", 1)]
            if self._varied:
                ways.append(("augment", min(8, self.config.augment.distinct or 8)))
        return [*ways, ("members", len(methods))] if len(methods) > 1 else ways

    def _judge(
        self,
        course: Course,
        card: ModelCard,
        data: DataSet,
        apart: list[str],
        source: SamplingSource,
        samples: int,
    ) -> MetricRecord:
        wanted = set(apart)
        pairs = [p for p in data.pairs if p.key in wanted]
        first, *others = course.methods
        predictor = Predictor(Model(first, card, self.out, tuple(others)), self.compute.device)
        evaluation = Evaluation(predictor, Request.of(card, source=source, samples=samples), pairs)
        for _ in evaluation.run():
            pass
        chosen = (
            "the weights are those of the last epoch, not selected on them"
            if self.config.select == "last"
            else f"the weights of epoch {_listed(course.best_epochs)} were selected on them, which flatters"
            " the figure"
        )
        return evaluation.record(
            f"{data.about.name or data.name}: the {len(pairs)} images kept apart, never trained on; {chosen}"
        )

    def _run(self, course: Course) -> Event:
        stopped = {"stopped": True, "training": self.checkpoint.training} if course.stopped else {}
        return stopped | {
            "epochs": len(course.events),
            "seconds": round(total_seconds(course.events)),
            "kept_epoch": course.best_epochs[0] if len(course.methods) == 1 else course.best_epochs,
            "device": self.compute.device,
            "precision": self.compute.precision,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__.split("+")[0],
            "python": platform.python_version(),
        }


def model_name(folder: Path) -> str:
    """A name that a card can have, made of a folder's."""
    return re.sub(r"[^a-z0-9._-]+", "-", folder.absolute().name.lower()).strip("-._")


def _copies_in_words(count: int) -> str:
    """What a person is told of files that hold the same image."""
    if not count:
        return ""
    files = "1 file holds" if count == 1 else f"{count} files hold"
    return f"{files} an image that another file holds too; all of them are on one side of the split"


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _over_all(values: Sequence[float], counts: Sequence[int]) -> float:
    """The mean over all images, from the means over the images of each set."""
    return sum(v * n for v, n in zip(values, counts, strict=True)) / sum(counts)


def total_seconds(events: Sequence[Event]) -> float:
    """Of the whole training: the clock of an epoch begins anew with every stage and member."""
    last = {(e.get("member"), e["stage"]): float(e["seconds"]) for e in events}
    return sum(last.values())


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
