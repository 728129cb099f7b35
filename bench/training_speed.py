"""Images a second that `train` learns from, of this checkout and of another one, in turns in one run.

    python bench/training_speed.py OTHER-CHECKOUT --data ../shared/data

Some steps of each configuration through `Trainer`, with augmentation, optimizer and average, without reading
files; each repetition runs both checkouts, in processes of their own. Prints medians, the median of the
ratios, and their range. `cpu` counts processor seconds, which other programs disturb less than `wall`.
"""

from __future__ import annotations

import argparse
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
DATA = {"breast-ultrasound": "busi", "hippocampus-mr": "msd_hippocampus", "guided-small": "busi"}

READ = """
import pickle, sys
from pathlib import Path
from napari_latentseg.data.slices import Slice
from napari_latentseg.training.config_files import load_config
from napari_latentseg.training.dataset import read_dataset
name, folder, out, count = sys.argv[1:]
data = read_dataset([Path(folder)], load_config(name))
whole = [Slice(s.image, s.mask, s.content_sha256, s.annotated, s.dataset) for s in data.train[: int(count)]]
slices = whole, whole[:1]
Path(out).write_bytes(pickle.dumps(slices))
"""

TRAIN = """
import pickle, sys, time
from pathlib import Path
import torch
from napari_latentseg.models.store import open_codec
from napari_latentseg.training.config_files import load_config
from napari_latentseg.training.batches import steps_per_epoch
from napari_latentseg.training.dataset import Dataset
from napari_latentseg.training.trainer import Trainer
from napari_latentseg.utils.device import Compute
name, path, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
train, validation = pickle.loads(Path(path).read_bytes())
config = load_config(name)
changes = {"published_weights": "none", "epochs": 2, "stages": {}, "draw": None, "validate_every": 2}
config = config.replace(**changes)
codec = open_codec(config.codec)[0] if config.codec else None
compute = Compute("cpu", "float32" if config.precision == "float32" else "bfloat16")
trainer = Trainer(config, Dataset(train, validation), codec, compute)
images, ticks = steps_per_epoch(train, config) * config.batch_size, []
for event in trainer.run():
    ticks.append((event.stage, event.epoch, time.perf_counter(), time.process_time()))
# the second epoch of each stage; in the first, torch prepares its convolutions
wall = sum(b[2] - a[2] for a, b in zip(ticks[::2], ticks[1::2], strict=True))
cpu = sum(b[3] - a[3] for a, b in zip(ticks[::2], ticks[1::2], strict=True))
stages = len(ticks) // 2
print(images * stages / wall, images * stages / cpu)
"""


def run(checkout: Path, code: str, *arguments: object) -> str:
    env = os.environ | {"PYTHONPATH": str(checkout / "src")}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="a checkout of an earlier commit")
    parser.add_argument("--data", type=Path, required=True, help="the folder with busi/ and msd_hippocampus/")
    parser.add_argument("--configs", nargs="*", default=list(DATA))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{arguments.threads} threads, images a second: before, now, ratio (range)")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.configs:
            path = Path(folder) / f"{name}.pickle"
            run(HERE, READ, name, arguments.data / DATA[name], path, 16 * arguments.steps)
            assert len(pickle.loads(path.read_bytes())[0]) >= 16, "too few images"
            figures: dict[str, list[list[float]]] = {"before": [], "now": []}
            for _ in range(arguments.repetitions):
                for kind, checkout in (("before", arguments.other), ("now", HERE)):
                    output = run(checkout.resolve(), TRAIN, name, path, arguments.threads)
                    figures[kind].append([float(value) for value in output.split()])
            for column, clock in enumerate(("wall", "cpu")):
                before, now = ([row[column] for row in figures[kind]] for kind in ("before", "now"))
                ratios = [b / a for a, b in zip(before, now, strict=True)]
                print(
                    f"{name:18} {clock:4} {statistics.median(before):7.1f} {statistics.median(now):7.1f} "
                    f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
