"""Which threshold fits the mean of MedSegLatDiff: how its cross-entropy weight w changes the Dice.

    python bench/wce_cut.py --model FOLDER --config medseglatdiff-small --data DATA/lidc_nodules [--repeats 4]

With a weighted cross-entropy the mask autoencoder gives p' = w p / (w p + 1 - p) instead of p. The paper
thresholds the mean of p' at one half. For a single sample that equals p at 1 / (1 + w); for the mean of
several it does not. Dice on the validation images, at working size, for masks reconstructed by the
autoencoder, one sample, and the mean of several.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.tile_inference import sample_plane
from napari_latentseg.methods.medseglatdiff import MedSegLatDiff
from napari_latentseg.models.store import load_model
from napari_latentseg.training.config_files import load_config
from napari_latentseg.training.dataset import read_dataset
from napari_latentseg.utils.device import resolve_compute


def cuts(p: Tensor, w: float) -> dict[str, Tensor]:
    """Masks of the mean of samples of probabilities `(n, K, H, W)`, by three thresholds."""
    shifted = w * p / (w * p + 1 - p)
    return {
        "mean of p' at 1/2 (paper)": shifted.mean(0) > 0.5,
        "mean of p at 1/2": p.mean(0) > 0.5,
        "mean of p at 1/(1+w)": p.mean(0) > 1 / (1 + w),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", required=True, help="a trained model, by folder or name")
    parser.add_argument("--config", required=True, help="its training configuration, for the split")
    parser.add_argument("--data", type=Path, required=True, help="holds images/ and masks/")
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=4, help="ensembles per image")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    config = load_config(args.config)
    method = load_model(args.model).method
    if not isinstance(method, MedSegLatDiff):
        parser.error(f"{args.model} is no MedSegLatDiff model")
    method.config = method.config.replace(unshift=True)
    (autoencoders, _) = method.stages()
    assert autoencoders.validate is not None
    compute = resolve_compute("cpu", config.precision)
    scores: dict[str, dict[str, list[float]]] = {}
    for number, example in enumerate(read_dataset(args.data, config).validation):
        image, mask = example.to_float()
        with torch.inference_mode():
            back = autoencoders.validate(image[None], mask[None])
        # different noise for every image: shared noise would affect all of them alike
        first = number * args.repeats * args.samples
        drawn = torch.stack(
            [
                torch.from_numpy(
                    sample_plane(method, image.numpy(), config.preprocess, compute, seed=first + k)
                )
                for k in range(args.repeats * args.samples)
            ]
        ).unflatten(0, (args.repeats, args.samples))
        answers = [("given back", back)]
        answers += [("1 sample", each[:1]) for each in drawn]
        answers += [(f"{args.samples} samples", each) for each in drawn]
        for what, p in answers:
            for cut, found in cuts(p.double(), method.config.mask_weight).items():
                scores.setdefault(what, {}).setdefault(cut, []).append(
                    float(dice(found[0].numpy(), mask[0].numpy() > 0.5))
                )
    report = {
        what: {cut: round(float(np.mean(values)), 4) for cut, values in each.items()}
        for what, each in scores.items()
    }
    print(json.dumps(report, indent=1))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
