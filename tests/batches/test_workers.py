"""Workers: cases of a batch in other processes, which may die at any moment."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from tests.helpers.worker_cases import do_case

from napari_latentseg import __version__, batch
from napari_latentseg.batches import clusters, worker_task, workers
from napari_latentseg.batches.case import BatchCase, BatchJob, CaseOutcome
from napari_latentseg.batches.worker_task import CaseTask
from napari_latentseg.batches.workers import Workers
from napari_latentseg.cli import main
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.settings import InferenceSettings

pytest.importorskip("distributed")
posix = pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signals")


def make_job(out: Path) -> BatchJob:
    out.mkdir(exist_ok=True)
    settings = InferenceSettings(samples=1, source="none", threshold=0.5)
    return BatchJob(out / "model", "key", out, settings, work=out)


def outcomes_of(
    executor: Workers, out: Path, names: str, should_stop: Any = lambda: False, progress: Any = None
) -> list[CaseOutcome]:
    cases = [BatchCase(name, out / f"{name}.png") for name in names.split()]
    return list(executor.outcomes(make_job(out), cases, progress or (lambda *_: None), should_stop))


def children() -> set[int]:
    """Processes that this one started, but for the tracker of `multiprocessing`, which ends with it."""
    pids = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            if "resource_tracker" not in " ".join(process.cmdline()):
                pids.add(process.pid)
    return pids


def written_address(file: Path) -> str:
    """The address that a scheduler writes once it listens."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError):  # not there yet, or not whole
            return str(json.loads(file.read_text("utf-8"))["address"])
        time.sleep(0.05)
    raise AssertionError("no scheduler has started")


@contextmanager
def dask_processes(tmp_path: Path, count: int = 1) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """A scheduler and workers as a person starts them; gives its address and the processes, it first."""
    file = tmp_path / "scheduler.json"
    program = [sys.executable, "-m", "distributed.cli"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def start(kind: str, *options: str) -> subprocess.Popen[str]:
        with (tmp_path / f"{kind}.log").open("a", encoding="utf-8") as log:
            return subprocess.Popen(
                [*program[:2], f"distributed.cli.dask_{kind}", *options],
                stdout=log, stderr=log, text=True, cwd=tmp_path, env=environment,
            )  # fmt: skip

    processes = [
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file),
              "--no-dashboard", "--dashboard-address", "127.0.0.1:0")
    ]  # fmt: skip
    try:
        address = written_address(file)
        for _ in range(count):
            processes.append(
                start("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard",
                      "--host", "127.0.0.1", "--local-directory", str(tmp_path))
            )  # fmt: skip
        yield address, processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_case_that_kills_its_workers_fails_and_the_others_are_done(tmp_path: Path) -> None:
    out = tmp_path / "out"
    executor = Workers(do_case, __version__, count=2, threads=3)
    before = children()
    listening: set[str] = set()

    def look(*_: Any) -> None:
        for pid in [os.getpid(), *children()]:
            with suppress(psutil.NoSuchProcess):  # it has just ended
                for connection in psutil.Process(pid).net_connections(kind="inet"):
                    if connection.status == psutil.CONN_LISTEN:
                        listening.add(connection.laddr.ip)

    cases = [BatchCase(name, out / f"{name}.png") for name in ("a", "deadly", "fatal-once", "failing", "b")]
    ended = {}
    for outcome in executor.outcomes(make_job(out), cases, lambda *_: None, lambda: False):
        if not ended:
            look()
        ended[outcome.case] = outcome
    assert {name: outcome.state for name, outcome in ended.items()} == {
        "a": "done", "b": "done", "fatal-once": "done", "failing": "failed", "deadly": "failed",
    }  # fmt: skip
    assert "its worker died 3 times, as when memory runs out" in ended["deadly"].reason
    assert ended["failing"].reason == "cannot be read"
    assert ended["a"].result == "a.3"  # the threads that were shared out
    assert len(list(out.glob("deadly.*.pid"))) == 3
    assert len(list(out.glob("fatal-once.*.pid"))) == 2
    assert len(list(out.glob("a.*.pid"))) == 1
    pids = {path.read_text("utf-8") for path in out.glob("*.pid")}
    assert str(os.getpid()) not in pids
    assert listening == {"127.0.0.1"}
    assert children() <= before
    assert os.environ.get("PYTHONHASHSEED") != "6640"  # dask sets it for its workers


def test_a_request_to_stop_ends_cases_that_would_never_end(tmp_path: Path) -> None:
    before = children()
    heard: list[str] = []
    executor = Workers(do_case, __version__, count=2)
    ended = outcomes_of(
        executor, tmp_path / "out", "endless-1 endless-2", lambda: len(heard) > 0,
        lambda name, done: heard.append(name),
    )  # fmt: skip
    assert ended == []
    assert set(heard) <= {"endless-1", "endless-2"}
    assert children() <= before


def test_nothing_is_started_for_no_cases(tmp_path: Path) -> None:
    executor = Workers(do_case, __version__, count=2, prepare=lambda: pytest.fail("prepared"))
    assert outcomes_of(executor, tmp_path / "out", "") == []


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose names nobody may log."""
    folder = tmp_path_factory.mktemp("scans")
    for seed in range(5):
        values = np.random.default_rng(seed).integers(0, 256, (24, 32), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"SECRET{seed}.png")
    return folder


@pytest.fixture(scope="module")
def single(
    scans: Path, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The files of one process."""
    out = tmp_path_factory.mktemp("single") / "out"
    batch(scans, tiny_model_folder, out, samples=3, format="nifti", spacing=0.5)
    return files_of(out)


def files_of(out: Path) -> dict[str, bytes]:
    """The files of the results by name; of records, what does not depend on the clock."""
    content = {}
    for path in sorted(out.glob("SECRET*/*")):
        data = path.read_bytes()
        if path.name.endswith("_run.json"):
            record = json.loads(data)
            del record["time"], record["seconds"]
            data = json.dumps(record, sort_keys=True).encode()
        content[f"{path.parent.name}/{path.name}"] = data
    return content


class Command:
    """`batch --events` in a process of its own."""

    def __init__(self, scans: Path, model: Path, out: Path, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "napari_latentseg", "batch", str(scans), "-m", str(model), "-o", str(out),
             "-n", "3", "--format", "nifti", "--spacing", "0.5", "--events", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip

    def ended_case(self) -> str:
        """Wait until a case has ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "case":
                assert event["state"] == "done", event
                return str(event["case"])
        raise AssertionError(self._process.communicate()[1])

    def processes(self) -> list[psutil.Process]:
        """The workers, and what else it has started."""
        return psutil.Process(self._process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        return [process for process in self.processes() if "spawn_main" in " ".join(process.cmdline())]

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def end(self) -> tuple[int, str]:
        """Wait for its end; gives its exit code and what it wrote on the standard error."""
        errors = self._process.communicate()[1]
        return self._process.returncode, errors


@posix
def test_a_killed_worker_and_a_killed_parent_lose_nothing(
    scans: Path, tiny_model_folder: Path, tmp_path: Path, single: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    command = Command(scans, tiny_model_folder, out, "--workers", "2")
    command.ended_case()
    command.workers()[0].kill()
    command.ended_case()
    left = command.processes()
    command.kill()
    _, alive = psutil.wait_procs(left, timeout=10)
    assert alive == []
    command = Command(scans, tiny_model_folder, out, "--workers", "2", "--resume")
    assert command.end() == (0, "")
    assert files_of(out) == single
    assert not list((out / ".batch").glob("work*"))


@posix
def test_workers_of_a_scheduler_do_the_cases_and_log_no_names(
    scans: Path, tiny_model_folder: Path, tmp_path: Path, single: dict[str, bytes]
) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    with dask_processes(tmp_path) as (address, processes):
        command = Command(scans, tiny_model_folder, out, "--scheduler", address, "--parts", "1")
        assert command.end() == (0, "")
        assert files_of(out) == single
        command = Command(scans, tiny_model_folder, again, "--scheduler", str(tmp_path / "scheduler.json"))
        command.ended_case()
        processes[0].kill()
        code, errors = command.end()
        assert code == 2
        assert "has ended, or cannot be reached any more; start it, then continue with --resume" in errors
        assert len(errors.splitlines()) == 1
    for name in ("scheduler", "worker"):
        assert "SECRET" not in (tmp_path / f"{name}.log").read_text("utf-8")
    assert Command(scans, tiny_model_folder, again, "--resume").end() == (0, "")
    assert files_of(again) == single


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("nonsense", "is neither an address nor a file"),
        ("tcp://host", "is neither an address nor a file"),
        ("tcp://127.0.0.1:99999", "is neither an address nor a file"),
        ("http://127.0.0.1:80", "is neither an address nor a file"),
        ("tcp://127.0.0.1:{closed}", "cannot be reached within 5 s; start it with `dask scheduler`"),
        ("{silent}", "cannot be reached within 5 s"),
        ("{file}", "is not a scheduler of dask"),
    ],
)
def test_a_scheduler_that_cannot_be_reached_costs_one_line(
    address: str, expected: str, scans: Path, tiny_model_folder: Path, tmp_path: Path, capfd: Any
) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text("{}", "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
        closed.close()
        address = address.format(closed=port, silent=f"127.0.0.1:{silent.getsockname()[1]}", file=file)
        options = ["-m", str(tiny_model_folder), "-o", str(tmp_path / "out"), "--scheduler", address]
        started_at = time.monotonic()
        assert main(["batch", str(scans), *options, "--quiet"]) == 2
        assert time.monotonic() - started_at < 20
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1
    assert expected in errors[0]


def test_a_scheduler_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with dask_processes(tmp_path, count=0) as (address, _):
        monkeypatch.setattr(clusters, "version", lambda name: "2001.1.0")
        with pytest.raises(BadInput, match=r"runs dask.distributed .*, and this is 2001\.1\.0"):
            outcomes_of(Workers(do_case, __version__, scheduler=address), tmp_path / "out", "a")


def test_workers_that_can_do_no_case_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with dask_processes(tmp_path) as (address, _):
        executor = Workers(do_case, "0.0.1", scheduler=address)
        with pytest.raises(BadInput, match=rf"workers: have napari-latentseg {__version__}, not 0\.0\.1"):
            outcomes_of(executor, tmp_path / "out", "a b")


def test_a_scheduler_without_workers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_NO_WORKER_S", 0.6)
    with (
        dask_processes(tmp_path, count=0) as (address, _),
        pytest.raises(BadInput, match=r"had no worker for .*; start some with `dask worker`"),
    ):
        outcomes_of(Workers(do_case, __version__, scheduler=address), tmp_path / "out", "a")
    assert logging.getLogger("distributed").level != logging.CRITICAL + 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"workers": 0}, "workers: is 0"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "leave one out"),
        ({"workers": 2.5}, "workers"),
    ],
)
def test_impossible_workers_are_refused(
    options: dict[str, Any], expected: str, scans: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=expected):
        batch(scans, tiny_model_folder, tmp_path / "out", **options)


def test_threads_belong_to_the_workers_of_a_scheduler(tiny_model_folder: Path, capsys: Any) -> None:
    options = ["-m", str(tiny_model_folder), "-o", "out", "--scheduler", "node:8786", "--threads", "2"]
    assert main(["batch", "scans", *options]) == 2
    assert "dask worker --nthreads" in capsys.readouterr().err


def test_workers_need_distributed(
    scans: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BadInput, match=r"is not installed; run: pip install 'napari-latentseg\[scale\]'"):
        batch(scans, tiny_model_folder, tmp_path / "out", workers=2)


def test_a_task_shows_nothing_of_its_case(tmp_path: Path) -> None:
    task = CaseTask(do_case, make_job(tmp_path), BatchCase("SECRET", Path("SECRET.png")), "k", "t", "1")
    assert "SECRET" not in repr(task.sealed())


@pytest.mark.parametrize(
    ("is_retry", "state", "expected"),
    [(False, "skipped", "skipped"), (True, "skipped", "done"), (True, "failed", "failed")],
)
def test_a_case_that_was_finished_just_before_its_worker_died_is_done(
    is_retry: bool, state: Any, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_latentseg.utils.threads.limit_threads", lambda count: None)

    def segment_case(job: BatchJob, case: BatchCase, progress: Any) -> CaseOutcome:
        assert job.resume == is_retry
        return CaseOutcome(case=case.name, state=state)

    class Watch:
        threads = 1

        def progress(self, done: float) -> None:
            pass

    case = BatchCase("a", tmp_path / "a.png")
    task = CaseTask(segment_case, make_job(tmp_path), case, "k", "t", __version__, 1, is_retry)
    outcome = worker_task._run(task, Watch()).outcome  # type: ignore[arg-type]
    assert outcome is not None
    assert outcome.state == expected
