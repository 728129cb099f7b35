"""Peak memory of training steps at each paper's batch, on the CPU, and what was expected before the first.

    python bench/step_memory.py --json step-memory.json
    python bench/step_memory.py sdseg-cvc --steps 2

Every configuration runs in a process of its own, through `Trainer`, on generated images. The codecs have
their full size and random weights. Nothing is validated: that takes one image at a time. The peak is that of
the resident memory, so it holds libraries, weights, optimizer, average and batches too.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# What the issue allows, GB of 1e9 bytes; wave-gms-busi has no aim.
AIMS = {"gms-busi": 6, "medseglatdiff-cvc": 8, "guided-abdomen": 6, "sdseg-cvc": 14, "wave-gms-busi": None}
# images of the data set that the masks of a configuration are those of
FOLDERS = {"guided-abdomen": "msd_lung"}
SIDE = 320


def write_images(folder: Path, count: int) -> Path:
    """Write `images/` and `masks/` of random images with a disc."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(folder / "images" / f"{i}.png")
        centre = rng.integers(80, SIDE - 80, 2)
        disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 60**2
        Image.fromarray(disc.astype(np.uint8)).save(folder / "masks" / f"{i}.png")
    return folder


def random_codec(source: str | None) -> Any:
    """The codec of a configuration at its full size, with random weights."""
    if source is None:
        return None
    from diffusers import AutoencoderKL, AutoencoderTiny

    from napari_latentseg.codecs.diffusers_codecs import KLCodec, TinyCodec

    if source.endswith("taesd"):
        return TinyCodec(AutoencoderTiny())
    return KLCodec(
        AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        )
    )


def measure(name: str, steps: int) -> dict[str, Any]:
    """Train so many steps of each stage, and say what they took."""
    from napari_latentseg.training.config import with_changes
    from napari_latentseg.training.config_files import load_config
    from napari_latentseg.training.dataset import read_dataset
    from napari_latentseg.training.trainer import Trainer
    from napari_latentseg.utils.device import Compute

    config = load_config(name)
    changes: dict[str, Any] = {
        "steps": None, "epochs": steps, "warmup_epochs": 0, "warmup_steps": None, "validate_every": steps,
        "split": {"fraction": 0.01}, "published_weights": "none",
        "stages": {
            stage: settings.model_dump(exclude_none=True) | {"epochs": steps, "steps": None}
            for stage, settings in config.stages.items()
        },
    }  # fmt: skip
    if config.draw is not None:
        changes["draw"] = config.draw.model_dump() | {"planes": config.batch_size}
    config = with_changes(config, changes)
    stages: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        images = write_images(Path(folder) / FOLDERS.get(name, "images"), config.batch_size + 1)
        data = read_dataset([images], config)
    trainer = Trainer(config, data, random_codec(config.codec), Compute("cpu", "float32"))
    trainer.validate = lambda stage: 0.0  # type: ignore[method-assign]
    begun = time.process_time()

    def note(event: Any) -> None:
        if event.event == "memory":
            stages.append({
                "stage": event.stage, "batch": event.batch_size, "part": event.part_size,
                "expected_gb": round(event.total_bytes / 1e9, 2),
            })  # fmt: skip

    trainer.on_progress = note
    for event in trainer.run():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        stages[-1] |= {
            "peak_gb": round(peak, 2),
            "losses": event.losses,
            "core_s": round(time.process_time() - begun),
        }
    return {"config": name, "steps": steps, "stages": stages}


def main() -> None:
    """Measure each configuration in a process of its own; see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", default=list(AIMS))
    parser.add_argument("--steps", type=int, default=2, help="of each stage; the second has all states")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", action="store_true", help="measure the one configuration in this process")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.configs[0], given.steps)))
        return
    results = []
    for name in given.configs:
        command = [sys.executable, __file__, name, "--here", "--steps", str(given.steps)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        result = json.loads(output.splitlines()[-1])
        results.append(result)
        aim = AIMS.get(name)
        for stage in result["stages"]:
            print(
                f"{name} {stage['stage']}: batch of {stage['batch']} in parts of {stage['part']}, expected "
                f"{stage['expected_gb']} GB, peak {stage['peak_gb']} GB"
                + (f" (aim {aim} GB)" if aim else "")
                + f", {stage['core_s']} core-s",
                flush=True,
            )
        if given.json is not None:
            given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
