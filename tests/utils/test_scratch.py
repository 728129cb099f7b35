"""Nothing stays in the temporary folder, however a process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from napari_latentseg.utils.scratch import (
    make_scratch_folder,
    remove_abandoned_scratch,
    remove_scratch_folder,
)

LONG_AGO = 1_000_000_000


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def make_old(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (LONG_AGO, LONG_AGO))


def test_a_folder_in_use_stays_and_one_of_a_killed_process_goes(tmp_path: Path) -> None:
    mine = make_scratch_folder("training-data-")
    make_old(mine.parent)
    code = (
        "import os, signal, tempfile; tempfile.tempdir = os.environ['SCRATCH']\n"
        "from napari_latentseg.utils.scratch import make_scratch_folder\n"
        "print(make_scratch_folder(), flush=True); input(); os._exit(9)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "SCRATCH": str(tmp_path)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    other = Path(child.stdout.readline().strip())
    make_old(other.parent)
    remove_abandoned_scratch()
    assert mine.is_dir()
    assert other.is_dir()
    child.communicate("\n")
    remove_abandoned_scratch()
    assert mine.is_dir()
    assert not other.parent.exists()
    remove_scratch_folder(mine)
    assert not list(tmp_path.iterdir())


def test_only_old_folders_of_our_names_go(tmp_path: Path) -> None:
    stay = ("latentseg-of-a-user", "latentseg-abcd_12", "other-abcd_123", "latentseg-recent_1")
    for name in ("latentseg-abcd_123", *stay):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0").write_text("values")
        if "recent" not in name:
            make_old(tmp_path / name)
    (tmp_path / "latentseg-link_abc").symlink_to(tmp_path / "other-abcd_123")
    remove_abandoned_scratch()
    assert {path.name for path in tmp_path.iterdir()} == {*stay, "latentseg-link_abc"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_command_that_is_ended_by_a_signal_removes_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    from napari_latentseg.cli import app

    number = getattr(signal, name)

    class Command:
        def main(self, **_: object) -> None:
            folder = make_scratch_folder()
            try:
                signal.raise_signal(number)
            finally:
                remove_scratch_folder(folder)

    monkeypatch.setattr(app, "_command", Command)
    earlier = signal.signal(number, signal.SIG_DFL)  # whoever starts the tests may ignore it, as nohup does
    try:
        assert app.run(["methods"]) == 128 + number
        assert "error: stopped" in capsys.readouterr().err
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, earlier)
    assert not list(tmp_path.iterdir())
