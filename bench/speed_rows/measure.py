"""Timing in turns, ratios of a round, and what a child process took."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parents[2]
BYTES_PER_MAXRSS = 1 if sys.platform == "darwin" else 1024  # unit of ru_maxrss


@dataclass(frozen=True)
class Settings:
    """What the command line asks for; see bench/speed.py."""

    data: Path
    repeats: int
    quick: bool
    threads: int
    nnunet_python: Path | None
    before: Path | None


class NotMeasured(Exception):
    """Why a row cannot be measured here."""


def interleave(
    calls: Mapping[str, Callable[[], float | None]], repeats: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each call in each round.

    All are called in every round, so that other work on the machine falls on all of them, and in reverse
    order in every second round. A call that returns a number has measured itself.
    """
    if warm_up:
        for call in calls.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats):
        names = list(calls) if number % 2 == 0 else list(calls)[::-1]
        for name in names:
            begin = time.perf_counter()
            measured = calls[name]()
            seconds[name].append(time.perf_counter() - begin if measured is None else measured)
    return seconds


def ratios(dividend: Sequence[float], divisor: Sequence[float]) -> tuple[float, ...]:
    """The ratio of each round."""
    return tuple(a / b for a, b in zip(dividend, divisor, strict=True))


def in_seconds(values: Sequence[float]) -> str:
    """The median, in a unit that suits it."""
    value = median(values)
    return f"{1000 * value:.1f} ms" if value < 0.1 else f"{value:.3g} s"


@dataclass(frozen=True)
class Usage:
    """What a child process and its own children took: seconds by the clock and of processors, peak bytes."""

    wall: float
    processor: float
    peak: int
    stdout: str


def environment(checkout: Path, home: Path, threads: int | None = None) -> dict[str, str]:
    """The environment in which the package of a checkout runs, with no settings or models of a user."""
    variables = dict(os.environ)
    variables |= {"PYTHONPATH": str(checkout / "src"), "NAPARI_LATENTSEG_HOME": str(home)}
    if threads is not None:
        variables |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return variables


def run_child(
    command: Sequence[str | Path], variables: Mapping[str, str], cwd: Path, accept: Sequence[int] = (0,)
) -> Usage:
    """Run a command to its end, and say what it took."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begin = time.perf_counter()
        child = subprocess.Popen(
            list(map(str, command)), env=dict(variables), cwd=cwd, stdout=out, stderr=err
        )
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)  # it has been waited for
        out.seek(0)
        err.seek(0)
        if child.returncode not in accept:
            raise NotMeasured(f"ended with {child.returncode}: {_last_line(err.read() + out.read())}")
        return Usage(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * BYTES_PER_MAXRSS, out.read())


def latentseg(*arguments: str | Path) -> list[str | Path]:
    """Our command line."""
    return [sys.executable, "-P", "-m", "napari_latentseg", *arguments]


def peak_bytes() -> int:
    """The largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_MAXRSS


class Server:
    """A child process that measures something each time it is asked, so that turns can be taken with it.

    It prints a line of JSON when it is ready, and one after each line that it reads.
    """

    def __init__(self, command: Sequence[str | Path], variables: Mapping[str, str], cwd: Path) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed with the process
        self._process = subprocess.Popen(
            list(map(str, command)), env=dict(variables), cwd=cwd, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        self.ready = self._read()

    def ask(self, question: str = "run") -> dict[str, Any]:
        """Have it measure once."""
        assert self._process.stdin is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith('{"'):  # others print dicts of Python
                return dict(json.loads(line))
        self._process.wait()
        self._errors.seek(0)
        raise NotMeasured(f"ended with {self._process.returncode}: {_last_line(self._errors.read())}")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
