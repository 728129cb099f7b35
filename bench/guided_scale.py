"""`guided-abdomen` on a made CT set: both stages, judging that is stopped and resumed, and its peak memory.

    PYTHONPATH=.:src python bench/guided_scale.py OUT --volumes 10

Makes the volumes (512 x 512 pixels, 40 to 60 slices, spacings that differ), trains a few steps of each
stage with the networks of `guided-abdomen`, stops the judging once it has begun, resumes it, and scores the
model by class. Sampling takes 4 steps in place of 50, and a few slices are judged, so that it ends within
half an hour on one core. Prints what happens, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.helpers.made_ct import write_ct_set

from napari_latentseg.models.card import read_card
from napari_latentseg.models.store import load_model
from napari_latentseg.training.config_files import load_config

_STOP_AFTER_S = 15.0  # of judging


def write_config(out: Path, planes: int, judge_planes: int) -> Path:
    """`guided-abdomen` with few steps of training and of sampling."""
    config = load_config("guided-abdomen").model_dump(mode="json")
    config["draw"]["planes"] = planes
    # a training has only the classes that its data are annotated with: the made set is said to have all 29
    labels = config["datasets"]["btcv"]["labels"]
    others = [c["name"] for c in config["classes"] if c["name"] not in labels.values()]
    labels |= {str(label): name for label, name in enumerate(others, start=len(labels) + 1)}
    config["settings"]["diffusion"] = {
        "beta_schedule": "squaredcos_cap_v2", "prediction": "sample", "steps": 4,
    }  # fmt: skip
    config |= {"epochs": 1, "validate_planes": 2, "judge_planes": judge_planes}
    config["stages"]["autoencoders"]["epochs"] = 1
    config["card"]["default_samples"] = 3
    path = out / "guided-abdomen-few-steps.json"
    path.write_text(json.dumps(config, indent=1))
    return path


def command(data: Path, model: Path, config: Path, *more: str) -> list[str]:
    """The training as a user starts it."""
    return [
        sys.executable, "-m", "napari_latentseg", "train", "--method", "guided", "--config", str(config),
        "--data", str(data), "--out", str(model), "--device", "cpu", "--threads", "1", "--events", *more,
    ]  # fmt: skip


def watch(arguments: list[str], *, stop_in_judging: bool) -> list[dict[str, Any]]:
    """Run it, print its events, and send SIGTERM some seconds after judging began."""
    start = time.monotonic()
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    events, asked_at = [], 0.0

    def ask() -> None:
        nonlocal asked_at
        asked_at = time.monotonic()
        process.send_signal(signal.SIGTERM)

    timer = threading.Timer(_STOP_AFTER_S, ask)
    for line in process.stdout:
        event = json.loads(line)
        events.append(event)
        print(f"{time.monotonic() - start:8.1f} s  {line.strip()[:180]}", flush=True)
        if stop_in_judging and event["event"] == "judging" and not timer.is_alive() and not asked_at:
            timer.start()
    process.wait()
    timer.cancel()
    if asked_at:
        print(f"ended {time.monotonic() - asked_at:.1f} s after SIGTERM", flush=True)
    return events


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--volumes", type=int, default=10)
    parser.add_argument("--planes", type=int, default=16, help="slices of an epoch")
    parser.add_argument("--judge-planes", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=None, help="in place of the configuration's")
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    os.environ["NAPARI_LATENTSEG_HOME"] = str(args.out / "home")
    data = write_ct_set(args.out / "btcv", args.volumes)
    config = write_config(args.out, args.planes, args.judge_planes)
    model = args.out / "model"
    more = () if args.batch_size is None else ("--batch-size", str(args.batch_size))
    arguments = command(data, model, config, *more)
    watch(arguments, stop_in_judging=True)
    card = load_model(model).card
    print("model after the stop: loads;", f"not judged: {card.unjudged!r};", f"{len(card.metrics)} records")
    events = watch([*arguments, "--resume"], stop_in_judging=False)
    assert not any(event["event"] == "epoch" for event in events), "trained again"
    card = read_card(model)
    for metric in card.metrics:
        print(metric.data, metric.values, json.dumps(metric.classes))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory of the training {peak:.2f} GB; files of slices:", end=" ")
    print(f"{sum(p.stat().st_size for p in (args.out / 'home' / 'planes').glob('*.planes')) / 2**20:.0f} MB")


if __name__ == "__main__":
    main()
