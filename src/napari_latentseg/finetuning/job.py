"""Fine-tuning: from a model and a few corrected images to a candidate that is judged before it is used."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.finetuning.budget import Encoding, Parts, split_cases
from napari_latentseg.finetuning.cases import Lesson, examples_of, find_lessons
from napari_latentseg.finetuning.comparison import (
    SAMPLES,
    CaseScores,
    judge_case,
    judge_pieces,
    mean_of,
    verdict,
)
from napari_latentseg.finetuning.loop import Tuner
from napari_latentseg.finetuning.plan import Look, Plan
from napari_latentseg.finetuning.thumbnails import thumbnails
from napari_latentseg.finetuning.writer import Candidate, write_candidate
from napari_latentseg.methods.base import Method, Tuning
from napari_latentseg.models.card import NAME_PATTERN
from napari_latentseg.models.layout import WEIGHTS
from napari_latentseg.models.store import find_model, load_model, model_folders
from napari_latentseg.models.versions import candidate_folder, free_name, next_version
from napari_latentseg.precision import choose_compute
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.dataset import Example
from napari_latentseg.training.events import (
    Caching,
    Chosen,
    FineTuneData,
    FineTuneEpoch,
    FineTuneEvent,
    FineTuneSaved,
    Judged,
    Judging,
    Preview,
    PreviewCase,
)
from napari_latentseg.training.pieces import Pieces
from napari_latentseg.training.place import (
    check_place,
    checkpoint_folder,
    read_state,
)
from napari_latentseg.training.replay import Replay, read_replay
from napari_latentseg.training.state import Saved

__all__ = ["FineTuneJob"]


class FineTuneJob:
    """Read, encode, learn, choose, judge, write. Iterating does the work and yields `FineTuneEvent`s.

    Parameters
    ----------
    base
        The model to begin from, by name or folder; no file of it is touched.
    data
        Folders of annotated images, see `find_lessons`.
    out
        The candidate's folder; that of its name among the candidates where not given.
    minutes
        For everything but the judging.
    name
        What the model is called where it is kept beside its base; a free one where not given.
    device
        See `choose_compute`.
    seed
        Draws the split, the variations and the batches.
    stop
        Asked after every step; True ends the learning. The best so far is judged and written, and a
        checkpoint beside it.
    resume
        Go on from the checkpoint; everything else must be as it was.
    codec
        The folder of the model's codec, where it lies apart.
    steps
        In place of as many as the time allows.
    plan
        How it learns.
    checkpoint_every
        Seconds.

    Raises
    ------
    BadInput
        At once, for whatever can be known before the work.
    """

    def __init__(
        self,
        base: str | Path,
        data: str | Path | Sequence[str | Path],
        out: Path | None = None,
        *,
        minutes: float = 2.0,
        name: str | None = None,
        device: str = "auto",
        seed: int = 0,
        stop: Callable[[], bool] = lambda: False,
        resume: bool = False,
        codec: str | Path | None = None,
        steps: int | None = None,
        plan: Plan | None = None,
        checkpoint_every: float = 20.0,
    ) -> None:
        self._begun = time.perf_counter()
        self.folders = [Path(data)] if isinstance(data, str | Path) else [Path(one) for one in data]
        if not self.folders:
            raise BadInput("data", "is missing", "give a folder of annotated images")
        if not 0 < minutes <= 24 * 60:
            raise BadInput("minutes", f"{minutes:g} is no such time", "give more than 0, and a day at most")
        if seed < 0:
            raise BadInput("seed", f"{seed} is below 0", "give 0 or more")
        self.model = load_model(find_model(base), codec)
        if self.model.others:
            raise BadInput(
                self.model.card.name, "has several members, which would no longer differ as they did",
                "fine-tune a model of one",
            )  # fmt: skip
        if resume and name is None and out is not None:
            name = str(read_state(checkpoint_folder(Path(out))).get("identity", {}).get("name")) or None
        self.name = name.lower() if name else (free_name(self.model.card.name))
        if not re.fullmatch(NAME_PATTERN, self.name):
            raise BadInput("name", f"{self.name!r} is no model's", "use letters, digits, dots and dashes")
        if self.name in model_folders():
            raise BadInput("name", f"there is a model {self.name!r} already", "give another")
        self.out = candidate_folder(self.name) if out is None else Path(out)
        check_place(self.out, resume=resume)
        self.minutes, self.seed, self.steps = minutes, seed, steps
        self.plan = plan or Plan()
        self.compute = choose_compute(device, "auto")
        self.stop, self.resume = stop, resume
        self.checkpoint = Checkpoint(checkpoint_folder(self.out), every=checkpoint_every)
        self.lessons = find_lessons(self.folders, self.model.card)

    @property
    def method(self) -> Method:
        """What learns."""
        return self.model.method

    def __iter__(self) -> Iterator[FineTuneEvent]:
        begun = self._begun
        card, method = self.model.card, self.method
        torch.manual_seed(self.seed)
        method.to(self.compute.torch_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
        tuning = method.tuning()
        examples = self._examples()
        parts = split_cases([lesson.draw_key for lesson in self.lessons], examples, self.seed, card)
        replay = read_replay(self.model.folder, card, tuning, self.compute)
        notes = [parts.note] if parts.note else []
        if copies := sum(lesson.copies for lesson in self.lessons):
            notes.append(_copies_in_words(copies))
        if replay is None:
            notes.append("the model has no pieces of its own training with it, so it may forget")
        yield FineTuneData(
            cases=len(self.lessons),
            planes=len(examples),
            train=len({case for case, _ in parts.train}),
            apart=len(parts.apart),
            replay=0 if replay is None else len(replay.learn),
            note="; ".join(notes),
        )
        identity = self._identity(examples)
        saved = self._saved(identity) if self.resume else None
        done_rounds = None if saved is None else int(saved.told["rounds"])
        new, choose, rounds = yield from self._encode(tuning, parts, begun, done_rounds)
        tuner = Tuner(
            method,
            tuning,
            new,
            choose,
            replay.learn if replay else None,
            replay.choose if replay else None,
            self.compute,
            self.plan,
            self.seed,
            card.threshold,
            self.steps,
            max(1.0, 60 * self.minutes - (time.perf_counter() - begun)),
            self.stop,
        )
        events: list[FineTuneEpoch] = []
        if saved is not None:
            events = [FineTuneEpoch.model_validate(event) for event in saved.told["events"]]
            tuner.go_on(Saved(saved.tensors, saved.told["at"]))
        for look in tuner.run():
            event = _epoch(look, tuner, len(new), begun, self.minutes)
            if look.step:
                events.append(event)
            yield event
            cases = thumbnails(tuner, parts.choose or parts.train, card)
            yield Preview(step=tuner.step, cases=tuple(PreviewCase.model_validate(case) for case in cases))
            if look.step and (tuner.stopped or self.checkpoint.is_due()):
                self.checkpoint.around = Saved({}, self._told(identity, rounds, events))
                self.checkpoint.write(tuner.saved())
        if not tuner.learnt:
            raise Cancelled
        share = tuner.settle()
        yield Chosen(share=share)
        taught = round(time.perf_counter() - begun, 1)
        comparison = yield from self._judge(tuner, tuning, parts, replay, notes)
        yield Judged(verdict=comparison["verdict"], line=comparison["line"], comparison=comparison)
        written = write_candidate(self._candidate(), tuner, parts, comparison, events, taught)
        held = comparison["held_out"]
        yield FineTuneSaved(
            folder=str(self.out),
            name=self.name,
            base=card.name,
            version=written.version,
            stopped=tuner.stopped,
            dsc=held["after"]["dsc"] if held else None,
            seconds=taught,
        )

    def _candidate(self) -> Candidate:
        return Candidate(
            self.model,
            self.name,
            self.new_version,
            self.out,
            tuple(self.lessons),
            self.plan,
            self.seed,
            self.minutes,
            self.compute,
            self.checkpoint,
            self.resume,
        )

    def _told(self, identity: dict[str, Any], rounds: int, events: list[FineTuneEpoch]) -> dict[str, Any]:
        """What is kept in a checkpoint beside the state of the loop."""
        epochs = [event.model_dump(exclude={"event"}) for event in events]
        return {"identity": identity, "rounds": rounds, "events": epochs}

    def _examples(self) -> list[tuple[int, Example]]:
        """Every plane that counts, with the number of its case from 1."""
        found: list[tuple[int, Example]] = []
        for number, lesson in enumerate(self.lessons, start=1):
            if self.stop():
                raise Cancelled
            found += [(number, e) for e in examples_of(lesson.load(), lesson.key, self.model.card)]
        if not found:
            raise BadInput("data", "no slice is approved", "approve at least one")
        if not any(bool(e.mask.any()) for _, e in found):
            raise BadInput("data", "every mask is empty", "mark the target in at least one image")
        return found

    def _identity(self, examples: list[tuple[int, Example]]) -> dict[str, Any]:
        digest = hashlib.sha256()
        for number, e in examples:
            drawn_by = self.lessons[number - 1].draw_key
            digest.update(repr((number, drawn_by, tuple(e.mask.shape), e.annotated)).encode())
            digest.update(e.image.numpy().tobytes() + e.mask.numpy().tobytes())
        return {
            "base": self.model.card.files[WEIGHTS],
            "name": self.name,
            "seed": self.seed,
            "data": digest.hexdigest(),
        }

    def _saved(self, identity: dict[str, Any]) -> Saved:
        found = self.checkpoint.read()
        before = found.told.get("identity", {})
        words = {
            "base": "is another model than the one of the fine-tuning that was stopped",
            "name": "is another than that of the fine-tuning that was stopped",
            "seed": "is another than that of the fine-tuning that was stopped",
            "data": "are other images or masks than those of the fine-tuning that was stopped",
        }
        for key, why in words.items():
            if before.get(key) != identity[key]:
                raise BadInput(key, why, "give the same, or begin again without --resume")
        self.checkpoint.training = found.told["training"]
        return Saved(found.tensors, found.told)

    def _encode(
        self, tuning: Tuning, parts: Parts, begun: float, rounds: int | None
    ) -> Generator[FineTuneEvent, None, tuple[Pieces, Pieces | None, int]]:
        encoding = Encoding(
            self.method, tuning, self.model.card, self.compute, parts, self.seed, begun, self.minutes,
            self.steps is None, self.stop,
        )  # fmt: skip
        steps = encoding.run(rounds)
        while True:
            try:
                done = next(steps)
            except StopIteration as end:
                encoded_pieces: tuple[Pieces, Pieces | None, int] = end.value
                return encoded_pieces
            yield Caching(done=done)

    def _judge(
        self, tuner: Tuner, tuning: Tuning, parts: Parts, replay: Replay | None, notes: list[str]
    ) -> Generator[FineTuneEvent, None, dict[str, Any]]:
        """Both models on the same cases; gives the comparison."""
        card = self.model.card
        scores: dict[bool, list[CaseScores]] = {False: [], True: []}
        total = 2 * len(parts.apart)
        for is_new in (False, True):
            tuner.show_kept() if is_new else tuner.show_base()
            for n, number in enumerate(parts.apart):
                lesson: Lesson = self.lessons[number - 1]
                for found in judge_case(lesson, card, self.method, self.compute):
                    if isinstance(found, CaseScores):
                        scores[is_new].append(found)
                    else:
                        done = (len(parts.apart) * is_new + n + found) / total
                        yield Judging(done=round(done, 3))
        own, what = None, ""
        if replay is not None:
            own_pieces = replay.judge if len(replay.judge) else replay.choose
            what = (
                f"{len(own_pieces)} pieces of its own images that were kept apart in its first training"
                if len(replay.judge)
                else f"{len(own_pieces)} pieces of its own training, which flatters the base"
            )
            tuner.show_base()
            before = judge_pieces(own_pieces, tuning, card, self.method, self.compute)
            tuner.show_kept()
            own = (before, judge_pieces(own_pieces, tuning, card, self.method, self.compute))
        tuner.show_kept()
        held = (mean_of(scores[False]), mean_of(scores[True])) if parts.apart else None
        word, line = verdict(held, own, len(parts.apart))
        if held is not None:
            notes = [*notes, "the weights were chosen on the cases kept apart, which flatters the new model"]
        if not self.method.is_deterministic:
            notes = [*notes, f"judged by the mean of {SAMPLES} samples"]
        base_of = {"name": card.name, "version": card.version}
        return {
            "format": 1,
            "line": line,
            "verdict": word,
            "base": base_of,
            "new": {"name": self.name, "version": self.new_version},
            "share": tuner.share,
            "held_out": None
            if held is None
            else {
                "cases": len(parts.apart),
                "before": held[0].as_dict(),
                "after": held[1].as_dict(),
                "unit": scores[True][0].unit,
            },
            "own": None
            if own is None
            else {
                "what": what,
                "items": len(own_pieces),
                "before": own[0].as_dict(),
                "after": own[1].as_dict(),
            },
            "cases": [
                {
                    "case": number,
                    "before": _rounded(before),
                    "after": _rounded(after),
                    "change": round(after.dsc - before.dsc, 4),
                }
                for number, before, after in zip(parts.apart, scores[False], scores[True], strict=True)
            ],
            "notes": notes,
        }

    @property
    def new_version(self) -> str:
        """The number that it has once it is adopted."""
        name = self.model.card.name
        return next_version(name) if name in model_folders() else "1"


def _copies_in_words(count: int) -> str:
    """What a person is told of images that were given more than once."""
    times = "image was" if count == 1 else "images were"
    return f"{count} {times} given more than once under other names, and left out"


def _epoch(look: Look, tuner: Tuner, count: int, begun: float, minutes: float) -> FineTuneEpoch:
    base, best = tuner.base_look, tuner.best
    per_epoch = max(1, count // max(1, round(tuner.plan.batch * (1 - tuner.plan.replay_share))))
    return FineTuneEpoch(
        epoch=-(-look.step // per_epoch),
        step=look.step,
        steps=tuner.steps,
        losses={name: round(value, 5) for name, value in look.losses.items()},
        dsc=look.dsc,
        base_dsc=base.dsc if base else None,
        replay_dsc=look.replay,
        base_replay_dsc=base.replay if base else None,
        best=best.dsc if best else None,
        seconds=round(time.perf_counter() - begun, 1),
        left=round(max(0.0, 60 * minutes - (time.perf_counter() - begun)), 1),
    )


def _rounded(scores: CaseScores) -> dict[str, Any]:
    return {"dsc": round(scores.dsc, 4), "hd95": round(scores.hd95, 3), "ece": round(scores.ece, 5)}
