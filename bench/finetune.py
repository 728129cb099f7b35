"""What fine-tuning on a few corrected images gains: the figures of docs/benchmarks.md.

    python bench/finetune.py --data DIR                  # Dice gained with 10 images, and with 1
    python bench/finetune.py --data DIR --speed          # an epoch on cached latents against one without
    python bench/finetune.py --data DIR --vessels        # retina-vessels and 4 images of drive

DIR holds `busi`, `ph2`, `chase_db1` and `drive`. The model is `breast-ultrasound`, trained on ultrasound
only; the new data are dermoscopy (`ph2`), whose lesions are outlined in the same way. The training images
are drawn with seed 0. The test images are used neither for training nor for selecting weights.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from napari_latentseg.api import evaluate, finetune
from napari_latentseg.finetuning.cases import collect_cases, read_slices
from napari_latentseg.finetuning.config import FineTuneConfig
from napari_latentseg.finetuning.loop import Tuner
from napari_latentseg.models.store import load_model
from napari_latentseg.training.events import FineTuneEvent
from napari_latentseg.training.patches import augmented_patches, encode_patches
from napari_latentseg.utils.device import resolve_compute


def part(source: Path, names: list[str], out: Path) -> Path:
    """A folder with some of the pairs of another."""
    for kind in ("images", "masks"):
        (out / kind).mkdir(parents=True)
        for path in sorted((source / kind).iterdir()):
            if path.stem in names:
                shutil.copyfile(path, out / kind / path.name)
    return out


def names_of(source: Path) -> list[str]:
    return sorted(p.stem for p in (source / "images").iterdir())


def figures(model: str | Path, new: Path, own: Path) -> dict[str, float]:
    """Mean DSC, one sample each, on images of the new data and on the model's own validation images."""
    on_new = evaluate(model, new, source="none", samples=1)
    on_own = evaluate(model, own, source="none", samples=1, subset="validation")
    return {"new": on_new.mean.dsc, "own": on_own.mean.dsc,
            "new_images": on_new.image_count, "own_images": on_own.image_count}  # fmt: skip


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def gain(
    base: str, new: Path, own: Path, learn: list[str], minutes: float, seed: int, work: Path, most: int
) -> dict[str, object]:
    """Fine-tune on some images, and score all others."""
    folder = part(new, learn, work / "learn")
    others = [n for n in names_of(new) if n not in learn]
    rest = part(new, sorted(random.Random(1).sample(others, min(most, len(others)))), work / "rest")
    last: dict[str, dict[str, object]] = {}
    used, begun = cpu_seconds(), time.perf_counter()
    marks: dict[str, float] = {}

    def note(event: FineTuneEvent) -> None:
        last[event.event] = event.as_dict()
        marks[event.event] = time.perf_counter() - begun
        marks[f"cpu {event.event}"] = cpu_seconds() - used

    finetune(
        base, folder, work / "candidate", minutes=minutes, name="bench-candidate", seed=seed, on_event=note
    )
    before, after = figures(base, rest, own), figures(work / "candidate", rest, own)
    return {
        "images": len(learn),
        "steps": last["epoch"]["step"],
        "share": last["chosen"]["share"],
        "seconds until the weights were chosen": round(marks["chosen"], 1),
        "of the processor": round(marks["cpu chosen"], 1),
        "line": last["judged"]["line"],
        "before": before,
        "after": after,
        "gain": round(100 * (after["new"] - before["new"]), 2),
        "own": round(100 * (after["own"] - before["own"]), 2),
    }


def speed(base: str, data: Path, count: int = 32, batch: int = 16) -> dict[str, float]:
    """CPU seconds of an epoch: on cached patches, and with encoding and decoding every time.

    Both train the same weights. The slow one augments, encodes and decodes every image in every epoch, as
    the first training does; the fast one uses cached latents, and decodes a part of each batch.
    """
    model = load_model(base)
    compute = resolve_compute("auto", "auto")
    method, card = model.method, model.card
    method.to(compute.torch_device(), memory_format=torch.channels_last)
    tuning, rng = method.fine_tune_spec(), np.random.default_rng(0)
    cases = collect_cases([data], card)[:count]
    examples = [s for i, case in enumerate(cases) for s in read_slices(case, card, i)]
    pieces = list(augmented_patches(examples, card, rng))[:count]
    known = encode_patches(method, tuning, pieces, compute)
    plan = FineTuneConfig(batch=batch)
    steps = count // batch
    tuner = Tuner(method, tuning, known, None, None, None, compute, plan, 0, card.raw_threshold, steps, 1e9)

    def quick() -> float:
        begun = time.process_time()
        for _ in range(steps):
            tuner._training_step()
        return time.process_time() - begun

    def slow() -> float:
        begun = time.process_time()
        made = iter(augmented_patches(examples, card, rng))
        for _ in range(steps):
            drawn = encode_patches(method, tuning, [next(made) for _ in range(batch)], compute)
            with compute.autocast():
                terms = tuning.loss(
                    drawn.features.float(), drawn.target.float(), drawn.masks.float(), drawn.annotated,
                    tuner._generator, batch,
                )  # fmt: skip
            tuner._training.add_gradient(terms)
            tuner._training.update()
        return time.process_time() - begun

    quick()
    slow()
    # alternating, so that other load on the machine affects both
    times = [(quick(), slow()) for _ in range(3)]
    fast, dear = (float(np.median([t[i] for t in times])) for i in (0, 1))
    return {"pieces": count, "cached": round(fast, 3), "encoding and decoding": round(dear, 3),
            "times as fast": round(dear / fast, 1), "threads": torch.get_num_threads()}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--vessels", action="store_true")
    parser.add_argument("--images", type=int, nargs="*", default=[10, 1])
    parser.add_argument("--rest", type=int, default=1000, help="Largest number of test images.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: dict[str, object] = {}
    if given.speed:
        for base, folder in (("breast-ultrasound", "busi"), ("retina-vessels", "chase_db1")):
            found[base] = speed(base, given.data / folder)
            print(base, found[base], flush=True)
    elif given.vessels:
        learn = names_of(given.data / "drive")[:4]
        with tempfile.TemporaryDirectory() as work:
            found["4"] = gain(
                "retina-vessels", given.data / "drive", given.data / "chase_db1", learn, given.minutes,
                given.seed, Path(work), given.rest,
            )  # fmt: skip
        print(json.dumps(found, indent=1), flush=True)
    else:
        drawn = random.Random(given.seed).sample(names_of(given.data / "ph2"), max(given.images))
        for count in given.images:
            with tempfile.TemporaryDirectory() as work:
                found[str(count)] = gain(
                    "breast-ultrasound", given.data / "ph2", given.data / "busi", drawn[:count],
                    given.minutes, given.seed, Path(work), given.rest,
                )  # fmt: skip
            print(count, json.dumps(found[str(count)], indent=1), flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
