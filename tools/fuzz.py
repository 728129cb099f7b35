"""Damages small files of every kind, and looks whether each is read, or refused in one line.

.venv/bin/python tools/fuzz.py [--count 5000] [--seed 0] [--target image ...] [--keep DIR]
.venv/bin/python tools/fuzz.py --replay DIR/NUMBER

An input fails where anything but `BadInput` comes out, where it takes more than 10 s or more than 1 GB above
the imports, where it writes more than 1 MB of log, or where the process ends. It is kept in DIR/NUMBER, as it
was read. A child process with a limit of memory reads, and is begun anew when it ends. The same seed gives
the same inputs.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import astuple
from pathlib import Path
from typing import Any

from fuzz_mutate import mutate_folder
from fuzz_seed import Seed
from fuzz_seeds import make_seeds, write_home
from fuzz_targets import TARGETS

MAX_SECONDS = 10
KILL_SECONDS = 40
START_SECONDS = 600  # of a machine that does much else
MAX_MEMORY_BYTES = 2**30
ADDRESS_BYTES = 8 * 2**30  # asked for and not used, it is no memory; this much shows that it would be used
MAX_LOG_BYTES = 2**20
ALLOWED = ("read", "refused")
RECORD_WEIGHT = 5  # of a model, store or result beside one image: they have more files, each of another kind


# --- in the child


def limit_address_space() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))


def peak_memory() -> int:
    """The most memory in bytes that this process has used since it was asked last."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back
    return int(fields["VmHWM"].split()[0]) * 1024


def is_out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def attempt(target: str, path: Path) -> tuple[str, str]:
    """Read once: the outcome, and what to say about it."""
    from napari_latentseg.errors import BadInput

    try:
        TARGETS[target](path)
    except BadInput as error:
        outcome = "memory" if is_out_of_memory(error) else "refused"
        return outcome, str(error)
    except BaseException as error:
        if is_out_of_memory(error):
            return "memory", type(error).__name__
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "napari_latentseg" in f.filename]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        return "other", f"{type(error).__name__} at {place}: {str(error)[:200]}"
    return "read", ""


def prepare(seed: Seed, root: Path, seed_number: int, number: int, work: Path) -> tuple[Path, str]:
    """Write the damaged copy of a seed into `work`."""
    rng = random.Random(f"{seed_number}/{number}")
    rng.random()
    shutil.copytree(root / seed.name, work, dirs_exist_ok=True)
    return work / seed.main if seed.main else work, mutate_folder(rng, work)


def choose(seeds: list[Seed], seed_number: int, number: int) -> Seed:
    """The seed that an input is made from."""
    weights = [1 if seed.target in ("image", "mask", "config") else RECORD_WEIGHT for seed in seeds]
    return random.Random(f"{seed_number}:{number}").choices(seeds, weights)[0]


def child(root: Path, seed_number: int, targets: list[str]) -> None:
    import warnings

    import dask

    warnings.simplefilter("ignore")
    dask.config.set(scheduler="synchronous")
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is log
    seeds = [Seed(*line) for line in json.loads((root / "seeds.json").read_text()) if line[1] in targets]
    for seed in seeds:  # also for the imports
        whole = root / seed.name
        outcome, reason = attempt(seed.target, whole / seed.main if seed.main else whole)
        if outcome != ("refused" if seed.is_refused else "read"):
            raise AssertionError(f"{seed.name}, before it is damaged: {outcome}: {reason}")
    limit_address_space()
    peak_memory()
    memory_of_imports = peak_memory()
    replies.write("ready\n")
    replies.flush()
    for line in sys.stdin:
        number = int(line)
        seed = choose(seeds, seed_number, number)
        work = Path(tempfile.mkdtemp(dir=root)) / "input"
        path, changed = prepare(seed, root, seed_number, number, work)
        begun = time.monotonic()
        outcome, reason = attempt(seed.target, path)
        seconds = time.monotonic() - begun
        memory_bytes = peak_memory() - memory_of_imports
        if memory_bytes > MAX_MEMORY_BYTES:
            outcome, reason = "memory", f"{memory_bytes >> 20} MiB: {reason}"
        reply = {
            "number": number,
            "changed": changed,
            "outcome": outcome,
            "reason": reason,
            "seconds": seconds,
        }
        shutil.rmtree(work.parent, ignore_errors=True)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


# --- in the parent


class Reader:
    """The child process, and its answers."""

    def __init__(self, root: Path, seed_number: int, targets: list[str]) -> None:
        self._log = (root / "log").open("w+b")
        command = [sys.executable, __file__, "--child", str(root), str(seed_number), *targets]
        environment = os.environ | {
            "NAPARI_LATENTSEG_HOME": str(root / "home"), "HF_HUB_OFFLINE": "1", "RUST_BACKTRACE": "0",
            "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "TMPDIR": str(root),
        }  # fmt: skip
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        self._replies: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        if not self._replies.get(timeout=START_SECONDS):
            self._log.seek(0)
            raise AssertionError(f"the child ended at its start:\n{self._log.read().decode()[-3000:]}")

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._replies.put(line)
        self._replies.put("")

    def read(self, number: int) -> dict[str, Any]:
        """What became of an input; `crash` or `slow` where the child has ended or had to be ended."""
        assert self.process.stdin is not None
        log_bytes = os.fstat(self._log.fileno()).st_size
        try:
            self.process.stdin.write(f"{number}\n")
            self.process.stdin.flush()
            line = self._replies.get(timeout=KILL_SECONDS)
        except queue.Empty:
            line = "slow"
        except BrokenPipeError:
            line = ""
        if not line.startswith("{"):
            self.process.kill()
            code = self.process.wait()
            outcome = "slow" if line == "slow" else "crash"
            return {
                "number": number,
                "outcome": outcome,
                "reason": f"the process ended ({code})",
                "seconds": 0.0,
            }
        reply: dict[str, Any] = json.loads(line)
        if reply["seconds"] > MAX_SECONDS:
            reply["outcome"] = "slow"
        elif os.fstat(self._log.fileno()).st_size - log_bytes > MAX_LOG_BYTES:
            reply["outcome"] = "log"
        os.ftruncate(self._log.fileno(), 0)
        return reply


def fuzz(
    count: int, seed_number: int, targets: list[str], keep: Path, first: int = 0
) -> collections.Counter[Any]:
    """Read that many damaged inputs; gives how many had which outcome, by target."""
    outcomes: collections.Counter[Any] = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        root = Path(folder)
        seeds = make_seeds(root)
        write_home(root / "home")
        (root / "seeds.json").write_text(json.dumps([astuple(seed) for seed in seeds]))
        chosen = [s for s in seeds if s.target in targets]
        reader = Reader(root, seed_number, targets)
        for number in range(first, first + count):
            reply = reader.read(number)
            seed = choose(chosen, seed_number, number)
            outcomes[seed.target, reply["outcome"]] += 1
            if reply["outcome"] not in ALLOWED:
                kept = keep / str(number)
                shutil.rmtree(kept, ignore_errors=True)
                prepare(seed, root, seed_number, number, kept / "input")
                (kept / "about.json").write_text(
                    json.dumps(
                        reply | {"seed": seed.name, "target": seed.target, "main": seed.main}, indent=1
                    )
                )
                say(f"{number} {seed.name}: {reply['outcome']}: {reply['reason']} (kept in {kept})")
            if reader.process.poll() is not None:
                reader = Reader(root, seed_number, targets)
            if (number + 1) % 500 == 0:
                say(f"{number + 1}: {sum(outcomes.values())} read")
        assert reader.process.stdin is not None
        reader.process.stdin.close()
        reader.process.wait()
    return outcomes


def table(outcomes: collections.Counter[Any]) -> str:
    kinds = [*ALLOWED, "other", "memory", "slow", "log", "crash"]
    lines = [" | ".join(["inputs", *kinds])]
    for target in sorted({target for target, _ in outcomes}):
        counts = [outcomes[target, kind] for kind in kinds]
        lines.append(" | ".join([f"{target} {sum(counts)}", *map(str, counts)]))
    return "\n".join(lines)


def replay(kept: Path) -> int:
    """Read a kept input in this process, with its traceback."""
    about = json.loads((kept / "about.json").read_text())
    path = kept / "input" / about["main"] if about["main"] else kept / "input"
    with tempfile.TemporaryDirectory() as home:
        write_home(Path(home))
        os.environ["NAPARI_LATENTSEG_HOME"] = home
        from napari_latentseg.errors import BadInput

        try:
            TARGETS[about["target"]](path)
        except BadInput as error:
            say(f"refused: {error}")
            return 0
    say("read")
    return 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="may be given several times")
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-failures"), help="where failing inputs are kept"
    )
    parser.add_argument("--replay", type=Path, metavar="DIR/NUMBER", help="read a kept input again")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(Path(given.child[0]), int(given.child[1]), given.child[2:])
        return 0
    if given.replay:
        return replay(given.replay)
    begun = time.monotonic()
    outcomes = fuzz(given.count, given.seed, given.target or list(TARGETS), given.keep, given.first)
    failures = sum(n for (_, outcome), n in outcomes.items() if outcome not in ALLOWED)
    say(table(outcomes))
    say(f"{failures} failures of {sum(outcomes.values())} inputs in {time.monotonic() - begun:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
