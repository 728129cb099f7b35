"""Two readers of one list are killed again and again: nothing is lost, no case is held by two."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_latentseg import CaseList
from napari_latentseg.annotations.journal import Journal
from napari_latentseg.caselist.decisions import DECISION_ADAPTER, case_key

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the table of processes")

WORKER = Path(__file__).with_name("two_readers.py")


def start(folder: Path, reader: str, log: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, str(WORKER), str(folder), reader], stdout=file, env=environment
        )


@pytest.mark.parametrize(
    "kills",
    [6, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],  # s, each starts Python
)
def test_kills_lose_nothing(tmp_path: Path, kills: int) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(12):
        (folder / f"case_{number:02}.png").touch()
    logs = {reader: tmp_path / f"{reader}.log" for reader in ("Anna", "Ben")}
    draws = random.Random(7)
    running = {reader: start(folder, reader, log) for reader, log in logs.items()}
    try:
        for _ in range(kills):
            reader = draws.choice(list(running))
            written, deadline = logs[reader].stat().st_size, time.monotonic() + 60
            while logs[reader].stat().st_size == written and time.monotonic() < deadline:
                assert running[reader].poll() is None, f"{reader} ended with {running[reader].returncode}"
                time.sleep(0.01)
            time.sleep(draws.random() * 0.2)
            running[reader].send_signal(signal.SIGKILL)
            assert running[reader].wait() == -signal.SIGKILL
            running[reader] = start(folder, reader, logs[reader])
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    reported = [line.decode().split() for log in logs.values() for line in log.read_bytes().split(b"\n")[:-1]]
    assert len(reported) > kills
    journal: Journal = Journal(folder / ".cases" / "journal.jsonl", DECISION_ADAPTER)
    journal.refresh()
    assert not journal.damaged_lines
    kept = {(line.record.case, line.record.comment) for line in journal}
    assert {(case_key(name), token) for name, token in reported} <= kept
    with CaseList(folder) as cases:
        for case in cases.rows():
            assert cases.reading_paths(case.name).keys() == {reading.reader for reading in case.readings}
            assert cases.hold(case.name, "Cleo")  # no lock outlives its process
    lines = (folder / ".cases" / "journal.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["line"] for line in lines] == list(range(1, len(lines) + 1))
