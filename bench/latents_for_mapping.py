"""How well GMS learns on the latents of different codecs: same data, steps and seeds.

    python bench/latents_for_mapping.py --data DATA/busi --codec embedded --codec DATA/weights [--epochs 12]

GMS with its frozen conditioner (as published except for the codec), cached latents of four augmentations of
each image, 128 x 128, the latent loss only (the paper's ablation "L_lm", so that the decoder's speed does not
count). DSC on the validation images (one sample, at working size), every third epoch.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from napari_latentseg.models.store import open_codec
from napari_latentseg.training.config import with_changes
from napari_latentseg.training.config_files import load_config
from napari_latentseg.training.dataset import read_dataset
from napari_latentseg.training.trainer import Trainer
from napari_latentseg.utils.device import resolve_compute


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds images/ and masks/ (busi)")
    parser.add_argument(
        "--codec", action="append", required=True, help="embedded, or a folder; give it for each codec"
    )
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    config = with_changes(
        load_config("gms-small"),
        {
            "epochs": args.epochs,
            "split": {"fraction": 0.15, "seed": 0, "likeness_bits": 20},
            "settings": {"posterior_noise": "none", "dice_weight": 0},
            "validate_every": 3,
            "select": "last",
        },
    )
    data = read_dataset(args.data, config)
    compute = resolve_compute("cpu", config.precision)
    report = {}
    for name in args.codec:
        codec, spec = open_codec(name)
        trainer = Trainer(config, data, codec, compute)
        scores = []
        for event in trainer.run():
            if event.dsc is not None:
                scores.append(
                    {"epoch": event.epoch, "dsc": round(event.dsc, 4), "seconds": round(event.seconds)}
                )
                print(spec.name, scores[-1], flush=True)
        report[spec.name] = {"channels": spec.channels, "curve": scores}
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
