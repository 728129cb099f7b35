"""A whole training: from a folder of annotated images to a model folder with its card."""

from __future__ import annotations

import csv
import io
import json
import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.errors import BadInput, Cancelled, first_problem
from napari_latentseg.files import free_folder
from napari_latentseg.inference.evaluate import Evaluation
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.request import Request
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.registry import method_class
from napari_latentseg.models.card import NAME_PATTERN, MetricRecord, ModelCard, TrainingData
from napari_latentseg.models.folder import Model, save_model_folder
from napari_latentseg.models.layout import SPLIT
from napari_latentseg.pairs import find_pairs
from napari_latentseg.precision import choose_compute
from napari_latentseg.segmentation import ClassInfo, SamplingSource
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.curve import draw_curve
from napari_latentseg.training.dataset import read_dataset
from napari_latentseg.training.trainer import EpochEvent, Trainer

__all__ = ["TrainingJob"]

Event = dict[str, Any]


class TrainingJob:
    """Read, train, judge, write. Iterating does the work and yields events, plain dictionaries.

    Parameters
    ----------
    data
        Holds `images/` and `masks/`.
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
        Asked after each batch and each image; True ends the training, and what was best is kept.

    Raises
    ------
    BadInput
        At once, for whatever could be known before the work: a name that no card can have, a folder that is
        there already, settings that the method does not know.
    """

    def __init__(
        self,
        data: Path,
        out: Path,
        config: TrainingConfig,
        codec: Codec | None,
        spec: CodecSpec | None,
        *,
        name: str | None = None,
        device: str = "auto",
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.data, self.out, self.config = Path(data), Path(out), config
        self.codec, self.spec = codec, spec
        self.name = name.lower() if name else model_name(self.out)
        if not re.fullmatch(NAME_PATTERN, self.name):
            raise BadInput("name", f"{self.name!r} is no model's", "use letters, digits, dots and dashes")
        self.compute = choose_compute(device, config.precision)
        self.stop = stop
        free_folder(self.out)
        try:
            method_class(config.method).config_class.model_validate(config.settings)
        except ValidationError as error:
            field, why = first_problem(error)
            raise BadInput(f"{config.method} settings, {field}", why, "correct that field") from error

    def __iter__(self) -> Iterator[Event]:
        total = {"value": 0}

        def progress(done: int, count: int) -> bool:
            total["value"] = count
            return not self.stop()

        data = read_dataset(self.data, self.config, progress)
        yield {"event": "data", "images": total["value"], "train": len(data.train), "apart": len(data.apart)}
        trainer = Trainer(self.config, data, self.codec, self.compute, self.stop)
        events: list[EpochEvent] = []
        for event in trainer.run():
            events.append(event)
            yield {"event": "epoch"} | event.as_dict()
        if not trainer.learnt:
            if self.stop():
                raise Cancelled
            raise BadInput("training", "ended before the learning rate rose from zero", "ask for more epochs")
        as_stored(trainer.method.trained)
        keys = data.keys()
        card = self._card(trainer, len(keys["train"]), len(keys["validation"]))
        metrics = []
        for source, samples in self._ways(trainer.method):
            yield {"event": "judging", "source": source, "samples": samples}
            metrics.append(self._judge(trainer, card, keys["validation"], source, samples))
        card = card.model_copy(update={"metrics": tuple(metrics)})
        extras = {
            # the codec by its name: where it lay on this machine is nobody's business
            "training.json": _json(
                self.config.model_dump(mode="json")
                | {"codec": self.spec.name if self.spec else None, "run": self._run(trainer, events)}
            ),
            "training_log.csv": _log(events),
            "training_curve.png": draw_curve([e.as_dict() for e in events]),
            SPLIT: _json(keys),
        }
        save_model_folder(self.out, trainer.method, card, extras)
        yield {
            "event": "saved",
            "folder": str(self.out),
            "dsc": metrics[0].values["dsc"],
            "epochs": len(events),
        }

    def _card(self, trainer: Trainer, train: int, apart: int) -> ModelCard:
        config, about = self.config, self.config.card
        split = config.split
        return ModelCard(
            name=self.name,
            title=about.title or self.name,
            method=config.method,
            variant=trainer.method.variant,
            settings=config.settings,
            codec=self.spec,
            preprocess=config.preprocess,
            augment=config.augment,
            modality=about.modality,
            classes=(ClassInfo(label=1, name=about.class_name, color=about.color),),
            sources=self._sources(trainer.method),
            default_samples=about.default_samples,
            training_data=(
                TrainingData(
                    name=about.data_name,
                    licence=about.data_licence,
                    reference=about.data_reference,
                    images=train,
                    kept_apart=apart,
                    split=f"{split.fraction:.0%} by "
                    + ("patient" if split.group_pattern else "image")
                    + (", near duplicates together" if split.likeness_bits is not None else "")
                    + f", seed {split.seed}",
                ),
            ),
            licence=about.licence,
            intended_use=about.intended_use,
            limits=about.limits,
        )

    def _sources(self, method: Method) -> tuple[SamplingSource, ...]:
        """The default first: a source that lies in a deterministic method is worth less than the images'."""
        own: tuple[SamplingSource, ...] = method.own_sources  # type: ignore[assignment]
        if not method.is_deterministic:
            return own
        return (*(("augment",) if self._varied else ()), *own, "none")

    @property
    def _varied(self) -> bool:
        """Whether test-time augmentation has anything to vary inside the training's ranges."""
        return self.config.augment.distinct != 1

    def _ways(self, method: Method) -> list[tuple[SamplingSource, int]]:
        """The ensembles that are judged: a single pass, and eight samples, or as many as differ."""
        if not method.is_deterministic:
            (source, *_) = self._sources(method)
            return [(source, 1), (source, self.config.card.default_samples)]
        ways: list[tuple[SamplingSource, int]] = [("none", 1)]
        if self._varied:
            ways.append(("augment", min(8, self.config.augment.distinct or 8)))
        return ways

    def _judge(
        self, trainer: Trainer, card: ModelCard, apart: list[str], source: SamplingSource, samples: int
    ) -> MetricRecord:
        wanted = set(apart)
        pairs = [p for p in find_pairs(self.data) if p.key in wanted]
        predictor = Predictor(Model(trainer.method, card, self.out), self.compute.device)
        evaluation = Evaluation(predictor, Request.of(card, source=source, samples=samples), pairs)
        for _ in evaluation.run():
            pass
        chosen = (
            "the weights are those of the last epoch, not selected on them"
            if self.config.select == "last"
            else f"the weights of epoch {trainer.best_epoch} were selected on them, which flatters the figure"
        )
        return evaluation.record(
            f"{self.config.card.data_name}: the {len(pairs)} images kept apart, never trained on; {chosen}"
        )

    def _run(self, trainer: Trainer, events: list[EpochEvent]) -> Event:
        return {
            "epochs": len(events),
            "seconds": round(events[-1].seconds),
            "kept_epoch": trainer.best_epoch,
            "device": self.compute.device,
            "precision": self.compute.precision,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__.split("+")[0],
            "python": platform.python_version(),
        }


def model_name(folder: Path) -> str:
    """A name that a card can have, made of a folder's."""
    return re.sub(r"[^a-z0-9._-]+", "-", folder.absolute().name.lower()).strip("-._")


def as_stored(module: nn.Module) -> None:
    """Round the weights to what a model folder keeps, so that what is judged is what is loaded later."""
    with torch.no_grad():
        for weight in module.state_dict().values():
            if weight.is_floating_point():
                weight.copy_(weight.half().float())


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _log(events: list[EpochEvent]) -> bytes:
    text = io.StringIO()
    told = [e.losses | e.measured for e in events]
    names = list(dict.fromkeys(name for each in told for name in each))
    stage = ["stage"] if any(e.stage for e in events) else []
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*stage, "epoch", *names, "learning_rate", "dsc", "seconds"])
    for e, values in zip(events, told, strict=True):
        row = [e.stage] * len(stage) + [str(e.epoch)]
        row += [f"{values[n]:.5f}" if n in values else "" for n in names]
        row += [f"{e.learning_rate:.6f}", "" if e.dsc is None else f"{e.dsc:.4f}", str(round(e.seconds, 1))]
        writer.writerow(row)
    return text.getvalue().encode()
