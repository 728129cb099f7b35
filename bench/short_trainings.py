"""What settings of a method are worth: short trainings that differ in nothing else.

    python bench/short_trainings.py msd_hippocampus --config hippocampus-mr --data DATA --json FILE
        --settings '{}' --settings '{"dice_over": "batch"}'
        --settings '{"dice_over": "batch", "mask_latents": "folded", "latent_weight": 0}'

Each is trained by a configuration of the package, that of the set in bench/peers.py where none is given, with
these settings on top, for the same processor time in one thread, and scored on the validation images as
there. A setting that makes a step cheaper is so paid with more steps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from peer_models.budget import CpuBudget
from peer_models.data import Images, read_images
from peer_models.jobs import DATA_SETS
from peer_models.ours import train_ours
from peer_models.scoring import score_validation


def trained_with(images: Images, settings: dict[str, Any], minutes: float, seed: int) -> dict[str, Any]:
    """Train with some settings on top of the configuration, and score."""
    config = images.config.replace(settings=images.config.settings | settings)
    changed = replace(images, config=config)
    budget = CpuBudget(60 * minutes)
    with tempfile.TemporaryDirectory(prefix="short-") as folder:
        trained = train_ours(changed, budget, seed, Path(folder))
        scores = score_validation("ours", trained, changed)
    return {
        "settings": settings,
        "minutes": minutes,
        "seed": seed,
        "images": trained.steps * trained.batch,
        "dsc": round(scores["report"]["mean"]["dsc"], 4),
        "interval": scores["report"]["intervals"]["mean"]["dsc"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=list(DATA_SETS))
    parser.add_argument("--data", type=Path, required=True, help="the folder with the data sets")
    parser.add_argument("--config", help="another configuration of the package than the set's")
    parser.add_argument("--settings", action="append", type=json.loads, required=True, metavar="JSON")
    parser.add_argument("--minutes", type=float, default=3.0, help="of processor time")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.config:
        DATA_SETS[given.set] = replace(DATA_SETS[given.set], config=given.config)
    images = read_images(given.set, given.data, None)
    rows = []
    for settings in given.settings:
        for seed in given.seeds:
            rows.append(trained_with(images, settings, given.minutes, seed))
            print(json.dumps(rows[-1]), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
