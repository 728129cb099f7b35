"""What fine-tuning on a few images gains, and what it loses: the table of docs/benchmarks/teaching.md.

    python bench/finetune.py run --data DATA --out RESULTS [--pairs MODEL:SET ...] [--counts 4 10 1]
    python bench/finetune.py table RESULTS [--write docs/benchmarks/teaching.md]

`run` works through models, sets and numbers of images, a process each, and writes a JSON file of each into
RESULTS; those that are there are passed over, so it may be stopped at any time and called again.

Each is `napari_latentseg.finetune` at its defaults, as the window and the command line use it, but that two
minutes are two minutes of processor time of one thread, since the machine is shared. Images are taught from
the second half of a set by name, and scored on images of the first half: of a set whose neighbouring files
are frames of one video, no more than one video is in both. Settings were tried out on images of the second
half alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

from document_section import write_section
from finetune_table import BEGIN, END, PAIRS, Cell, markdown, read_cells

COUNTS = (4, 10, 1)
_DRAW = 0  # of images; nothing was tried out on it


def halves(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the images of a set, those to score on and those to teach; numbers in their order."""

    def order(name: str) -> list[Any]:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]

    names = sorted((path.stem for path in (folder / "images").iterdir()), key=order)
    return names[: len(names) // 2], names[len(names) // 2 :]


def part(source: Path, names: list[str], out: Path) -> Path:
    """A folder with some of the pairs of another."""
    for kind in ("images", "masks"):
        (out / kind).mkdir(parents=True)
        for path in sorted((source / kind).iterdir()):
            if path.stem in names:
                shutil.copyfile(path, out / kind / path.name)
    return out


def dice(model: str | Path, folder: Path, subset: str = "all") -> tuple[float, int]:
    """Mean DSC of single passes, and the number of images."""
    from napari_latentseg.api import evaluate

    report = evaluate(model, folder, source="none", samples=1, subset=subset)
    return report.mean.dsc, report.image_count


def base_figures(cell: Cell, options: argparse.Namespace, rest: Path) -> dict[str, Any]:
    """What the base has on the unseen images and on its own; measured once for all counts."""
    path = options.out / f"base-{cell.base}-{cell.data_set}-{options.unseen}.json"
    if not path.is_file():
        new, unseen = dice(cell.base, rest)
        own, own_count = dice(cell.base, options.data / cell.own, "validation")
        path.write_text(json.dumps({"new": new, "unseen": unseen, "own": own, "own_images": own_count}))
    return dict(json.loads(path.read_text()))


def measure(cell: Cell, options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Teach, and score before and after."""
    import torch

    from napari_latentseg.api import finetune

    torch.set_num_threads(1)
    source = options.data / cell.data_set
    scored, taught = halves(source)
    learn = part(source, random.Random(_DRAW).sample(taught, len(taught))[: cell.count], work / "learn")
    names = random.Random(_DRAW).sample(scored, min(options.unseen, len(scored)))
    rest = part(source, names, work / "rest")
    events: dict[str, dict[str, Any]] = {}
    with mock.patch("time.perf_counter", time.process_time):
        finetune(
            cell.base, learn, work / "candidate", minutes=cell.minutes, name="bench-candidate", seed=_DRAW,
            device="cpu", on_event=lambda event: events.update({event.event: event.as_dict()}),
        )  # fmt: skip
    before = base_figures(cell, options, rest)
    new, _ = dice(work / "candidate", rest)
    own, _ = dice(work / "candidate", options.data / cell.own, "validation")
    return {
        "before": before,
        "after": {"new": new, "own": own},
        "steps": events["epoch"]["step"],
        "seconds": events["epoch"]["seconds"],
        "share": events["chosen"]["share"],
        "threshold": events["chosen"]["threshold"],
        "line": events["judged"]["line"],
        "load": os.getloadavg()[0],
    }


def run(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    pairs = [tuple(pair.split(":")) for pair in options.pairs]
    for count in options.counts:
        for base, data_set in pairs:
            cell = Cell(base, data_set, count, options.minutes)
            if cell.path(options.out).is_file():
                continue
            print(f"{time.strftime('%F %T')} {cell.path(options.out).stem}", flush=True)
            command = [sys.executable, __file__, "cell", base, data_set, str(count), str(options.minutes)]
            command += ["--data", options.data, "--out", options.out, "--unseen", str(options.unseen)]
            env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
            if subprocess.run(command, env=env).returncode:
                failed.append(cell.path(options.out).stem)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def do_cell(options: argparse.Namespace) -> None:
    cell = Cell(options.base, options.set, options.count, options.length)
    with tempfile.TemporaryDirectory(prefix="finetune-") as folder:
        result = measure(cell, options, Path(folder))
    cell.write(options.out, result)
    print(json.dumps(result, indent=1), flush=True)


def table(options: argparse.Namespace) -> None:
    text = markdown(read_cells(options.results))
    print(text)
    if options.write is not None:
        write_section(options.write, BEGIN, END, text)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data", type=Path, required=True, help="the folder with the data sets")
    shared.add_argument("--out", type=Path, required=True, help="the folder of the results")
    shared.add_argument("--unseen", type=int, default=20, help="images of the set that are scored, at most")
    queue = commands.add_parser("run", parents=[shared], help="measure what is not there yet")
    queue.add_argument("--pairs", nargs="+", default=[":".join(pair) for pair in PAIRS], metavar="MODEL:SET")
    queue.add_argument("--counts", nargs="+", type=int, default=list(COUNTS), help="images to teach")
    queue.add_argument("--minutes", type=float, default=2.0, help="of processor time")
    queue.set_defaults(call=run)
    cell = commands.add_parser("cell", parents=[shared], help="one of them, in this process")
    cell.add_argument("base")
    cell.add_argument("set")
    cell.add_argument("count", type=int)
    cell.add_argument("length", type=float)
    cell.set_defaults(call=do_cell)
    result = commands.add_parser("table", help="the table of what is done")
    result.add_argument("results", type=Path)
    result.add_argument("--write", type=Path, help="a document whose section is replaced")
    result.set_defaults(call=table)
    return parser


def main() -> None:
    options = arguments().parse_args()
    options.call(options)


if __name__ == "__main__":
    main()
