"""Train the embedded codec, and write its configuration, log and figures next to the weights.

    python bench/train_codec.py --data DATA --teacher DATA/weights --config codec-compact-1 --out ONE
    python bench/train_codec.py --data DATA --teacher DATA/weights --config codec-compact-2 --start ONE --out
    TWO

The first run aligns the latents with those of the teacher, the second sharpens the images.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from napari_latentseg.networks.taef2 import build_taef2_encoder
from napari_latentseg.training.train_codec import CodecConfig, read_codec_datasets, train_codec
from napari_latentseg.utils.weights import save_weights

CONFIGS = Path(__file__).parents[1] / "src/napari_latentseg/training/configs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--teacher", type=Path, help="holds taef2_encoder.pth")
    parser.add_argument("--config", default="codec-compact-1")
    parser.add_argument("--start", type=Path, help="folder of an earlier run to start from")
    parser.add_argument("--steps", type=int, help="instead of the configuration's")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    config = CodecConfig.model_validate_json((CONFIGS / f"{args.config}.json").read_text())
    if args.steps:
        config = config.replace(steps=args.steps)
    teacher = None
    if args.teacher:
        teacher = build_taef2_encoder().eval().to(memory_format=torch.channels_last)
        state = torch.load(args.teacher / "taef2_encoder.pth", weights_only=True)
        teacher.load_state_dict({k: v.float() for k, v in state.items()})
    sources = read_codec_datasets(config, args.data)
    print({s.config.name: (len(s.images), int(s.is_validation.sum())) for s in sources}, flush=True)
    begun = time.perf_counter()
    with (args.out / "training_log.csv").open("w", newline="") as file:
        log = csv.writer(file)

        def report(step: int, terms: dict[str, float]) -> None:
            if step == 50:
                log.writerow(["step", "seconds", *terms])
            log.writerow([step, round(time.perf_counter() - begun), *(f"{v:.5f}" for v in terms.values())])
            file.flush()
            if step % 500 == 0:
                print(step, round(time.perf_counter() - begun), terms, flush=True)

        earlier = load_file(args.start / "codec.safetensors") if args.start else None
        state = train_codec(config, sources, teacher=teacher, initial_weights=earlier, on_progress=report)
    save_weights(state, args.out / "codec.safetensors", half=True)
    (args.out / "training.json").write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")


if __name__ == "__main__":
    main()
