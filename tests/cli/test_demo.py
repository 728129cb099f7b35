"""`demo`, where no window can be shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_latentseg.cli import run_commands


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("tool", [None, "/usr/bin/xvfb-run"])
def test_without_a_display_it_says_what_to_do(
    refused, no_display: pytest.MonkeyPatch, tool: str | None
) -> None:
    no_display.setattr(run_commands.shutil, "which", lambda _: tool)
    message = refused("demo")
    assert message.startswith("demo: there is no display")
    assert ("--out" in message) == (tool is not None)


@pytest.mark.parametrize("code", [0, 2])
def test_with_an_output_folder_it_goes_on_under_a_virtual_one(
    cli, no_display: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    commands = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, code)

    no_display.setattr(run_commands.shutil, "which", lambda _: "/usr/bin/xvfb-run")
    no_display.setattr(run_commands.subprocess, "run", run)
    assert cli("demo", "--out", tmp_path / "demo", "--samples", 2).code == code
    ((tool, *rest),) = commands
    assert tool == "/usr/bin/xvfb-run"
    assert rest[-5:] == ["demo", "--out", str(tmp_path / "demo"), "--samples", "2"]
