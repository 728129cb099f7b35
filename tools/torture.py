"""Kills processes at random moments of their writing, and looks whether anything that was done is lost.

.venv/bin/python tools/torture.py [--kills 200] [--seed 0] [--job NAME ...] [--folder DIR]

A job does one kind of writing in a child process, and reports each thing that is done by a line on its
standard output. The child is killed (SIGKILL) at a random moment, and the job's check holds what is on the
disk against what was reported. Every fourth time two children write in the same place at once. To add a job:
a class in torture_jobs.py, and its name in JOBS there.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from torture_jobs import JOBS, Job

EVERY = 40  # kills, after which a new folder is begun, so that the checks stay quick


def child(job: str, folder: Path, seed: int) -> None:
    """Load what the job needs, then do it."""

    def report(**facts: Any) -> None:
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()

    JOBS[job].run(folder, seed, report)


class Child:
    """A process that writes, and what it has reported."""

    def __init__(self, job: Job, folder: Path, seed: int) -> None:
        self.job, self.folder, self.seed = job, folder, seed
        self.reported: list[dict[str, Any]] = []
        command = [sys.executable, __file__, "--child", job.name, str(folder), str(seed)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):
                self.reported.append(json.loads(line))

    def begun(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"{self.job.name} ended by itself: {self._errors()}")
        return bool(self.reported)

    def kill(self) -> None:
        if self._process.poll() is not None:
            self._reader.join()
            raise AssertionError(f"{self.job.name} ended by itself: {self._errors()}")
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _errors(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.read()

    def check(self) -> None:
        self.job.check(self.folder, self.seed, self.reported)


def torture(kills: int, seed: int, jobs: list[Job], root: Path) -> dict[str, int]:
    """Kill that many times; gives how many things were reported as done, by kind."""
    rng = random.Random(seed)
    done: dict[str, int] = {"kills": 0}
    past: list[Child] = []
    folder = root
    while done["kills"] < kills:
        if len(past) >= EVERY or not past:
            folder = Path(tempfile.mkdtemp(dir=root))
            past = []
        job = jobs[done["kills"] % len(jobs)]
        together = [job]
        if done["kills"] % 4 == 3 and job.shares and kills - done["kills"] > 1:
            together.append(rng.choice([other for other in jobs if other.shares]))
        children = [Child(one, folder, rng.randrange(1 << 30)) for one in together]
        while not all(one.begun() for one in children):
            time.sleep(0.01)
        for one in children:
            time.sleep(rng.choice([0.02, 0.3, 1.0]) * rng.random())
            one.kill()
        for one in children:
            one.check()
        past += children
        for one in past:  # what was approved long ago is still there
            if one.job.name == "approving":
                one.check()
        done["kills"] += len(children)
        for one in children:
            for line in one.reported:
                kind = next(iter(line))
                done[kind] = done.get(kind, 0) + 1
        if done["kills"] % 10 < len(children):
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", action="append", choices=list(JOBS), help="may be given several times")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder unless given")
    parser.add_argument("--child", nargs=3, metavar=("JOB", "FOLDER", "SEED"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], Path(given.child[1]), int(given.child[2]))
        return 0
    root = Path(tempfile.mkdtemp(prefix="torture-", dir=given.folder))
    begun = time.monotonic()
    try:
        done = torture(given.kills, given.seed, [JOBS[name] for name in given.job or JOBS], root)
    except AssertionError as error:
        sys.stdout.write(f"LOST: {error}\nwhat is there was left in {root}\n")
        return 1
    shutil.rmtree(root)
    sys.stdout.write(f"nothing is lost: {done} in {time.monotonic() - begun:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
