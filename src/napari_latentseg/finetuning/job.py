"""Fine-tuning: from a model and a few corrected images to a candidate that is judged before it is used."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.finetuning.cases import Lesson, examples_of, find_lessons
from napari_latentseg.finetuning.comparison import (
    SAMPLES,
    CaseScores,
    judge_case,
    judge_pieces,
    mean_of,
    verdict,
)
from napari_latentseg.finetuning.loop import Look, Plan, Tuner
from napari_latentseg.finetuning.thumbnails import outlined
from napari_latentseg.methods.base import Method, Tuning
from napari_latentseg.models.card import NAME_PATTERN, Ancestor, MetricRecord, ModelCard, TrainingData
from napari_latentseg.models.folder import save_model_folder
from napari_latentseg.models.layout import COMPARISON, REPLAY, SPLIT, WEIGHTS
from napari_latentseg.models.split import read_split
from napari_latentseg.models.store import find_model, load_model, model_folders
from napari_latentseg.models.versions import candidate_folder, free_name, next_version
from napari_latentseg.precision import choose_compute
from napari_latentseg.training.about import licence_of
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.dataset import Example
from napari_latentseg.training.log import training_curve, training_log
from napari_latentseg.training.pieces import Pieces, encoded, plain_pieces, varied_pieces
from napari_latentseg.training.place import (
    TRAINING,
    check_place,
    checkpoint_folder,
    is_stopped_model,
    read_state,
)
from napari_latentseg.training.replay import Replay, read_replay
from napari_latentseg.training.split import keep_apart
from napari_latentseg.training.state import Saved

__all__ = ["FineTuneJob"]

Event = dict[str, Any]

_APART = 0.2
_ROUNDS = 4  # of variations, where the number of steps is given
_LOOKED_AT = 24  # pieces to choose by
_MOST_PIECES = 1024
_MOST_BYTES = 600 << 20
_PREVIEW_BYTES = 30_000


@dataclass(frozen=True)
class _Parts:
    """Who learns and who judges.

    Attributes
    ----------
    train, choose
        Examples with the number of their case, to learn and to choose by.
    apart
        The numbers of the cases that are kept apart; none where there is one case only.
    note
        What a person should know of it.
    """

    train: list[tuple[int, Example]]
    choose: list[tuple[int, Example]]
    apart: tuple[int, ...]
    note: str


class FineTuneJob:
    """Read, encode, learn, choose, judge, write. Iterating does the work and yields events, dictionaries.

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

    def __iter__(self) -> Iterator[Event]:
        begun = self._begun
        card, method = self.model.card, self.method
        torch.manual_seed(self.seed)
        method.to(self.compute.torch_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
        tuning = method.tuning()
        examples = self._examples()
        parts = _split([lesson.draw_key for lesson in self.lessons], examples, self.seed, card)
        replay = read_replay(self.model.folder, card, tuning, self.compute)
        notes = [parts.note] if parts.note else []
        if copies := sum(lesson.copies for lesson in self.lessons):
            notes.append(_copies_in_words(copies))
        if replay is None:
            notes.append("the model has no pieces of its own training with it, so it may forget")
        yield {
            "event": "data",
            "cases": len(self.lessons),
            "planes": len(examples),
            "train": len({case for case, _ in parts.train}),
            "apart": len(parts.apart),
            "replay": 0 if replay is None else len(replay.learn),
            "note": "; ".join(notes),
        }
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
        events: list[Event] = []
        if saved is not None:
            events = list(saved.told["events"])
            tuner.go_on(Saved(saved.tensors, saved.told["at"]))
        for look in tuner.run():
            event = _epoch(look, tuner, len(new), begun, self.minutes)
            if look.step:
                events.append(event)
            yield {"event": "epoch"} | event
            yield self._preview(tuner, tuning, parts)
            if look.step and (tuner.stopped or self.checkpoint.is_due()):
                self.checkpoint.around = Saved({}, {"identity": identity, "rounds": rounds, "events": events})
                self.checkpoint.write(tuner.saved())
        if not tuner.learnt:
            raise Cancelled
        share = tuner.settle()
        yield {"event": "chosen", "share": share}
        taught = round(time.perf_counter() - begun, 1)
        comparison = yield from self._judge(tuner, tuning, parts, replay, notes)
        yield {
            "event": "judged",
            "verdict": comparison["verdict"],
            "line": comparison["line"],
            "comparison": comparison,
        }
        written = self._write(tuner, parts, comparison, events, taught)
        held = comparison["held_out"]
        yield {
            "event": "saved",
            "folder": str(self.out),
            "name": self.name,
            "base": card.name,
            "version": written.version,
            "stopped": tuner.stopped,
            "dsc": held["after"]["dsc"] if held else None,
            "seconds": taught,
        }

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

    def _identity(self, examples: list[tuple[int, Example]]) -> Event:
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

    def _saved(self, identity: Event) -> Saved:
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
        self, tuning: Tuning, parts: _Parts, begun: float, rounds: int | None
    ) -> Generator[Event, None, tuple[Pieces, Pieces | None, int]]:
        """Encode the pieces, round after round of variations, for a fifth of the time at most.

        Gives those to learn, those to choose by, and how many rounds there were.
        """
        card = self.model.card
        choose = None
        if parts.choose:
            chosen = plain_pieces(parts.choose, card, _LOOKED_AT)
            choose = encoded(self.method, tuning, chosen, self.compute)
        found: list[Pieces] = []
        made = 0
        while True:
            rng = np.random.default_rng([self.seed, made])
            pieces = list(varied_pieces(parts.train, card, rng))[:_MOST_PIECES]
            found.append(encoded(self.method, tuning, pieces, self.compute))
            made += 1
            count, size = sum(map(len, found)), sum(map(_bytes, found))
            spent = (time.perf_counter() - begun) / (12 * self.minutes)
            if rounds is None:
                # a length that was given gives the same twice, however busy the machine
                spent = made / _ROUNDS if self.steps else spent
                full = count + len(pieces) > _MOST_PIECES or size + _bytes(found[-1]) > _MOST_BYTES
                is_last = full or spent >= 1 or self.stop() or made * len(parts.train) >= 4 * _MOST_PIECES
                done = 1.0 if is_last else min(0.99, max(spent, count / _MOST_PIECES))
            else:
                is_last, done = made >= rounds, made / rounds
            yield {"event": "caching", "done": round(done, 3)}
            if is_last:
                return Pieces.joined(found), choose, made

    def _preview(self, tuner: Tuner, tuning: Tuning, parts: _Parts) -> Event:
        """Two cases as they were, as they are now, and as they should be."""
        shown: dict[int, Example] = {}
        for case, example in parts.choose or parts.train:
            if bool(example.mask.any()):
                shown.setdefault(case, example)
        first = list(shown.items())[:2]
        cases = []
        for case, piece in ((p.case, p) for p in _most_marked(first, self.model.card)):
            known = encoded(self.method, tuning, [piece], self.compute)
            pictures = []
            tuner.show_base()
            pictures.append(self._cut(tuning, known))
            tuner.show_kept()
            pictures.append(self._cut(tuning, known))
            tuner.back_to_work()
            pictures.append(piece.mask)
            before, now, yours = (outlined(piece.image, mask) for mask in pictures)
            cases.append({"case": case, "before": before, "now": now, "yours": yours})
        while len(json.dumps(cases)) > _PREVIEW_BYTES - 100:
            cases.pop()
        return {"event": "preview", "step": tuner.step, "cases": cases}

    def _cut(self, tuning: Tuning, pieces: Pieces) -> torch.Tensor:
        device = self.compute.torch_device()
        noise = None if self.method.is_deterministic else _one_noise
        with torch.inference_mode(), self.compute.autocast():
            found = tuning.draw(pieces.features.to(device, torch.float32), noise)[0].float().cpu()
        return (found > self.model.card.threshold).float()

    def _judge(
        self, tuner: Tuner, tuning: Tuning, parts: _Parts, replay: Replay | None, notes: list[str]
    ) -> Generator[Event, None, Event]:
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
                        yield {"event": "judging", "done": round(done, 3)}
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
            "new": {"name": self.name, "version": self._version()},
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

    def _version(self) -> str:
        """The number that it has once it is adopted."""
        name = self.model.card.name
        return next_version(name) if name in model_folders() else "1"

    def _write(
        self, tuner: Tuner, parts: _Parts, comparison: Event, events: list[Event], seconds: float
    ) -> ModelCard:
        base, folder = self.model.card, self.model.folder
        learned = len({case for case, _ in parts.train})
        own = TrainingData(
            name="your annotated images",
            licence="not stated",
            images=learned,
            kept_apart=len(parts.apart),
            split=f"{_APART:.0%} by case, seed {self.seed}" if parts.apart else "",
        )
        card = base.replace(
            name=self.name,
            version=self._version(),
            parent=f"{base.name} {base.version}",
            lineage=(
                *base.lineage,
                Ancestor(name=base.name, version=base.version, sha256=base.files[WEIGHTS]),
            ),
            training_data=(*base.training_data, own),
            licence=licence_of(base.licence, [one.licence for one in base.training_data]),
            metrics=self._metrics(comparison),
            # measured on the base's weights
            reliability=None,
            volume_interval=None,
        )
        numbered = list(enumerate(self.lessons, start=1))
        split = read_split(folder).extended(
            train=[lesson for number, lesson in numbered if number not in parts.apart],
            validation=[lesson for number, lesson in numbered if number in parts.apart],
        )
        told = [
            {"stage": "", "epoch": i, "losses": e["losses"], "measured": {}, "dsc": e["dsc"],
             "learning_rate": self.plan.learning_rate, "seconds": e["seconds"]}
            for i, e in enumerate(events, start=1)
        ]  # fmt: skip
        stopped = {"stopped": True, "training": self.checkpoint.training} if tuner.stopped else {}
        run = stopped | {
            "steps": tuner.step,
            "pieces": len(tuner.new),
            "seconds": round(seconds),
            "device": self.compute.device,
            "precision": self.compute.precision,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__.split("+")[0],
            "python": platform.python_version(),
        }
        about = {"base": card.parent, "plan": asdict(self.plan), "share": tuner.share, "seed": self.seed}
        extras = {
            TRAINING: _json(about | {"minutes": self.minutes, "run": run}),
            COMPARISON: _json(comparison),
            "training_log.csv": training_log(told),
            "training_curve.png": training_curve(told),
            SPLIT: _json(split.to_json()),
        }
        if REPLAY in base.files:  # what encodes an image has not changed, so its pieces still hold
            extras[REPLAY] = (folder / REPLAY).read_bytes()
        replace = self.resume and is_stopped_model(self.out, self.checkpoint.training)
        try:
            written = save_model_folder(self.out, self.method, card, extras, replace=replace)
        except OSError as error:
            raise BadInput(self.out, f"cannot be written ({error.strerror})", "make room") from error
        if not tuner.stopped:
            self.checkpoint.remove()
        return written

    def _metrics(self, comparison: Event) -> tuple[MetricRecord, ...]:
        held = comparison["held_out"]
        if held is None:
            return ()
        after = held["after"]
        is_one = self.method.is_deterministic
        values = {"dsc": after["dsc"]} | ({"hd95": after["hd95"]} if after["hd95"] is not None else {})
        return (
            MetricRecord(
                data=f"your annotated images: the {held['cases']} cases kept apart, never trained on; the"
                " weights were chosen on them, which flatters the figure",
                images=held["cases"],
                samples=1 if is_one else SAMPLES,
                source="none" if is_one else self.model.card.sources[0],
                values=values,
                unit=held["unit"],
            ),
        )


def _copies_in_words(count: int) -> str:
    """What a person is told of images that were given more than once."""
    times = "image was" if count == 1 else "images were"
    return f"{count} {times} given more than once under other names, and left out"


def _split(keys: Sequence[str], examples: list[tuple[int, Example]], seed: int, card: ModelCard) -> _Parts:
    """Cases to learn from, and cases kept apart; of a single case, a part of it to choose by."""
    numbers = sorted({case for case, _ in examples})
    if len(numbers) > 1:
        chosen = keep_apart([keys[n - 1] for n in numbers], _APART, seed)
        apart = tuple(n for n, out in zip(numbers, chosen, strict=True) if out)
        few = "" if len(apart) > 2 else f"only {len(apart)} of {len(numbers)} cases to judge by"
        return _Parts(
            [(c, e) for c, e in examples if c not in apart],
            [(c, e) for c, e in examples if c in apart],
            apart,
            few,
        )
    note = "there is one case only: it is learnt from, and nothing is kept apart to judge by"
    count = len(examples)
    if count > 3:  # neighbouring slices are alike, so they stay together
        cut = count - max(1, count // 4)
        return _Parts(examples[:cut], examples[cut:], (), f"{note}; its last slices choose the weights")
    if card.preprocess.mode == "tiles" and count == 1:
        ((case, example),) = examples
        width = example.image.shape[-1]
        cut = width - width // 4
        if width - cut >= card.preprocess.size // 2:
            left, right = _columns(example, 0, cut), _columns(example, cut, width)
            if bool(left.mask.any()) and bool(right.mask.any()):
                text = f"{note}; a quarter of the image chooses the weights"
                return _Parts([(case, left)], [(case, right)], (), text)
    return _Parts(examples, [], (), f"{note}; half of the change is kept")


def _columns(example: Example, start: int, end: int) -> Example:
    window = (slice(None), slice(None), slice(start, end))
    return Example(example.image[window], example.mask[window], example.key, example.annotated)


def _most_marked(examples: list[tuple[int, Example]], card: ModelCard) -> Iterator[Any]:
    """Of each example the window in which most is marked."""
    for one in examples:
        yield max(plain_pieces([one], card, 64), key=lambda piece: float(piece.mask.sum()))


def _one_noise(shape: tuple[int, ...], step: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(step))


def _epoch(look: Look, tuner: Tuner, count: int, begun: float, minutes: float) -> Event:
    base, best = tuner.base_look, tuner.best
    per_epoch = max(1, count // max(1, round(tuner.plan.batch * (1 - tuner.plan.replay_share))))
    return {
        "epoch": -(-look.step // per_epoch),
        "step": look.step,
        "steps": tuner.steps,
        "losses": {name: round(value, 5) for name, value in look.losses.items()},
        "dsc": look.dsc,
        "base_dsc": base.dsc if base else None,
        "replay_dsc": look.replay,
        "base_replay_dsc": base.replay if base else None,
        "best": best.dsc if best else None,
        "seconds": round(time.perf_counter() - begun, 1),
        "left": round(max(0.0, 60 * minutes - (time.perf_counter() - begun)), 1),
    }


def _bytes(pieces: Pieces) -> int:
    tensors = (pieces.features, pieces.target, pieces.masks)
    return sum(t.numel() * t.element_size() for t in tensors)


def _rounded(scores: CaseScores) -> Event:
    return {"dsc": round(scores.dsc, 4), "hd95": round(scores.hd95, 3), "ece": round(scores.ece, 5)}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
