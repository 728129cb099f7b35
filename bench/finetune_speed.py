"""How much faster an epoch of fine-tuning is on patches that were encoded once: docs/benchmarks/teaching.md.

    python bench/finetune_speed.py --data DIR

DIR holds `busi` and `chase_db1`. The epochs alternate in one run, so that other load affects both.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from napari_latentseg.finetuning.cases import collect_cases, read_slices
from napari_latentseg.finetuning.config import FineTuneConfig
from napari_latentseg.finetuning.loop import Tuner
from napari_latentseg.models.store import load_model
from napari_latentseg.training.patches import augmented_patches, encode_patches
from napari_latentseg.utils.device import resolve_compute


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
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = {}
    for base, folder in (("breast-ultrasound", "busi"), ("retina-vessels", "chase_db1")):
        found[base] = speed(base, given.data / folder)
        print(base, found[base], flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
