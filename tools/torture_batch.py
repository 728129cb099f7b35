"""Kills the workers, the scheduler and the parent of a batch at random moments, and compares what it leaves.

.venv/bin/python tools/torture_batch.py [--kills 20] [--cases 12] [--seed 0] [--folder DIR]
.venv/bin/python tools/torture_batch.py --kills 0 --memory-cases 300    whether memory stays flat

After each kill the batch goes on with --resume, until it is through. Then every case must be there once, byte
for byte as a single run writes it but for the time in its record, and no process may be left; the next batch
begins. Two workers; every second batch has a scheduler of its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

MODEL = "breast-ultrasound"
PYTHON = [sys.executable, "-m"]


def write_scans(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        values = np.random.default_rng(number).integers(0, 256, (120, 160), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"scan{number:03}.png")


def files_of(out: Path) -> dict[str, bytes]:
    """The results by their paths; records without what depends on the clock."""
    content = {}
    for path in sorted(out.glob("scan*/*")):
        data = path.read_bytes()
        if path.name.endswith("_run.json"):
            record = json.loads(data)
            del record["time"], record["seconds"]
            data = json.dumps(record, sort_keys=True).encode()
        content[str(path.relative_to(out))] = data
    return content


def command(scans: Path, out: Path, *options: str) -> list[str]:
    return [*PYTHON, "napari_latentseg", "batch", str(scans), "-m", MODEL, "-o", str(out), "-n", "3",
            "--format", "nifti", "--spacing", "0.5", "--events", *options]  # fmt: skip


class Cluster:
    """A scheduler and two workers, each below a nanny, as `dask worker` starts them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.processes: list[subprocess.Popen[Any]] = []

    def start(self) -> None:
        self.stop()
        self.file.unlink(missing_ok=True)
        common = ["--scheduler-file", str(self.file), "--no-dashboard", "--host", "127.0.0.1"]
        self._run("dask_scheduler", *common, "--port", "0", "--dashboard-address", "127.0.0.1:0")
        while not (self.file.exists() and self.file.read_bytes().rstrip().endswith(b"}")):
            time.sleep(0.05)
        for _ in range(2):
            self._run("dask_worker", *common, "--nthreads", "1", "--local-directory", str(self.folder))

    def _run(self, program: str, *options: str) -> None:
        line = [*PYTHON, f"distributed.cli.{program}", *options]
        self.processes.append(
            subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)
        )

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes = []


def worker_processes(parents: list[int]) -> list[psutil.Process]:
    children = [c for pid in parents for c in psutil.Process(pid).children(recursive=True)]
    return [c for c in children if "spawn_main" in " ".join(c.cmdline())]


def end_within(processes: list[psutil.Process], seconds: float) -> None:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    assert not alive, f"{len(alive)} processes are left after {seconds} s"


class Batch:
    """One run of the command."""

    def __init__(self, scans: Path, out: Path, options: list[str]) -> None:
        self.process = subprocess.Popen(
            command(scans, out, "--resume", *options),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait_for_case(self) -> bool:
        """Whether a case that was not finished before has ended; False where the batch has."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] in ("progress", "case") and event.get("state") != "skipped":
                return True
        return False

    def end(self, codes: set[int]) -> int:
        _, errors = self.process.communicate(timeout=300)
        assert self.process.returncode in codes, f"exit code {self.process.returncode}: {errors}"
        assert self.process.returncode == 0 or len(errors.splitlines()) == 1, errors
        return self.process.returncode


def torture(kills: int, cases: int, seed: int, root: Path) -> dict[str, int]:
    rng = random.Random(seed)
    scans = root / "scans"
    write_scans(scans, cases)
    subprocess.run(command(scans, root / "single", "--threads", "1"), check=True, stdout=subprocess.DEVNULL)
    expected = files_of(root / "single")
    done = {"worker": 0, "scheduler": 0, "parent": 0, "batches": 0}
    cluster, number = Cluster(root), 0
    try:
        while sum(done.values()) - done["batches"] < kills:
            out = root / f"out{number}"
            has_scheduler = number % 2 == 1
            number += 1
            is_complete = False
            while not is_complete:
                if has_scheduler and (not cluster.processes or cluster.processes[0].poll() is not None):
                    cluster.start()
                local = ["--workers", "2", "--threads", "2"]
                run = Batch(scans, out, ["--scheduler", str(cluster.file)] if has_scheduler else local)
                if not run.wait_for_case():
                    is_complete = run.end({0}) == 0
                    break
                time.sleep(rng.random() * 2)
                is_complete = kill_one(rng, run, cluster if has_scheduler else None, done)
                check_finished(out, expected)
                sys.stdout.write(f"{done}\n")
                sys.stdout.flush()
            assert files_of(out) == expected, "the results are others than those of a single run"
            with (out / "cases.tsv").open(encoding="utf-8", newline="") as file:
                names = [row["case"] for row in csv.DictReader(file, delimiter="\t")]
            assert sorted(names) == [path.stem for path in sorted(scans.iterdir())], (
                "a case is not there once"
            )
            assert not list(out.rglob(".part-*")), "temporary files are left"
            assert not list((out / ".batch").glob("work*")), "temporary files are left"
            done["batches"] += 1
            shutil.rmtree(out)
    finally:
        cluster.stop()
    return done


def kill_one(rng: random.Random, run: Batch, cluster: Cluster | None, done: dict[str, int]) -> bool:
    """Kill something; whether the batch is through."""
    if run.process.poll() is not None:
        return run.end({0}) == 0
    victim = rng.choice(["worker", "parent", "scheduler"] if cluster is not None else ["worker", "parent"])
    own = psutil.Process(run.process.pid).children(recursive=True)
    done[victim] += 1
    if victim == "worker":
        parents = [p.pid for p in cluster.processes[1:]] if cluster is not None else [run.process.pid]
        workers = worker_processes(parents)
        if workers:
            rng.choice(workers).kill()
        run.end({0})
        end_within(own, 10)
        return True
    if victim == "parent":
        run.process.kill()
        run.process.communicate()
        end_within(own, 10)
        return False
    assert cluster is not None
    cluster.processes[0].kill()
    cluster.processes[0].wait()
    is_through = run.end({0, 2}) == 0
    end_within(own, 10)
    return is_through


def check_finished(out: Path, expected: dict[str, bytes]) -> None:
    """Whether each case that counts as finished is what a single run writes."""
    states = [json.loads(path.read_text("utf-8")) for path in (out / ".batch" / "cases").glob("*.json")]
    content = files_of(out)  # after the states: workers of a scheduler may still write
    for state in states:
        for name in state["files"] if state["is_finished"] else ():
            assert content[name] == expected[name], f"{name} is another"


def measure_memory(cases: int, root: Path) -> str:
    """Memory of the parent and of its two workers after a fifth of the cases and at the end, in MB."""
    scans = root / "many"
    write_scans(scans, cases)
    process = subprocess.Popen(
        command(scans, root / "many-out", "--workers", "2", "--threads", "2"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    sizes: dict[int, list[int]] = {}
    ended = 0
    for line in process.stdout:
        if json.loads(line)["event"] != "case":
            continue
        ended += 1
        if ended % (cases // 5) == 0 and ended < cases:
            own = psutil.Process(process.pid)
            sizes[ended] = [p.memory_info().rss >> 20 for p in (own, *worker_processes([process.pid]))]
            sys.stdout.write(f"after {ended} cases: parent and workers {sizes[ended]} MB\n")
            sys.stdout.flush()
    assert process.wait() == 0
    first, last = sizes[cases // 5], sizes[cases // 5 * 4]
    growth = max(b / a - 1 for a, b in zip(first, last, strict=True))
    assert growth < 0.1, f"memory has grown by {growth:.0%}"
    return f"from {cases // 5} to {cases // 5 * 4} cases no process grew by more than {max(growth, 0):.1%}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--memory-cases", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder unless given")
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="torture-", dir=given.folder))
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    begun = time.monotonic()
    try:
        if given.memory_cases:
            sys.stdout.write(measure_memory(given.memory_cases, root) + "\n")
        done = torture(given.kills, given.cases, given.seed, root) if given.kills else {}
    except AssertionError as error:
        sys.stdout.write(f"LOST: {error}\nwhat is there was left in {root}\n")
        return 1
    shutil.rmtree(root)
    sys.stdout.write(f"nothing is lost: {done} in {time.monotonic() - begun:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
