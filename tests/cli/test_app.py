"""The command line as a whole."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import napari_latentseg
from napari_latentseg import api
from napari_latentseg.cli import app as module
from napari_latentseg.cli import main
from napari_latentseg.cli.console import print_error, print_json, print_line, print_table, progress_bar
from napari_latentseg.errors import BadInput


@pytest.mark.parametrize("args", [["--version"], ["--version", "segment"]])
def test_the_version_alone(cli, args: list[str]) -> None:
    ended = cli(*args)
    assert (ended.code, ended.out, ended.errors) == (0, f"{napari_latentseg.__version__}\n", [])


@pytest.mark.parametrize("args", [[], ["--help"]])
def test_help_names_every_command(cli, args: list[str]) -> None:
    ended = cli(*args)
    assert ended.code == 0
    for command in ("demo", "segment", "evaluate", "train", "models", "doctor"):
        assert command in ended.out


@pytest.mark.parametrize("command", ["demo", "segment", "evaluate", "train", "models", "doctor"])
def test_every_command_has_help(cli, command: str) -> None:
    ended = cli(command, "--help")
    assert ended.code == 0
    assert "Usage: napari-latentseg " + command in ended.out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["segmentt"], "segmentt"),
        (["segment"], "Missing argument"),
        (["segment", "a.png", "--model", "m"], "--out"),
        (["segment", "a.png", "--model", "m", "--out", "o", "--samples", "many"], "--samples"),
        (["segment", "a.png", "--model", "m", "--out", "o", "--colour", "red"], "--colour"),
        (["models", "info"], "Missing argument"),
        (["models", "lists"], "lists"),
        (["archive"], "archive needs one of its commands: find, store (see --help)"),
        (["--verbos"], "--verbos"),
    ],
)
def test_a_wrong_command_line_is_one_line(refused: Callable[..., str], args: list[str], message: str) -> None:
    assert message in refused(*args)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "error: stopped"),
        (napari_latentseg.errors.Cancelled(), 130, "error: stopped"),
        (napari_latentseg.errors.BadInput("a.png", "is odd", "turn it"), 2, "error: a.png: is odd; turn it"),
        (MemoryError(), 2, "error: memory: is too small for this; close other programs, or crop the image"),
    ],
)
def test_every_end_has_its_code(
    cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    def fail(**_: object) -> None:
        raise error

    class Command:
        main = staticmethod(fail)

    monkeypatch.setattr(module, "_command", lambda: Command)
    ended = cli("doctor")
    assert (ended.code, ended.errors) == (code, [line])


def test_ctrl_c_in_a_command_is_one_line(cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "locate_model", interrupted)
    ended = cli("segment", "a.png", "--model", "m", "--out", tmp_path)
    assert (ended.code, ended.out, ended.errors) == (130, "", ["error: stopped"])


def test_ctrl_c_before_there_are_commands_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    class BeingImported(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "napari_latentseg.cli.app", BeingImported("napari_latentseg.cli.app"))
    assert main(["doctor"]) == 130
    assert capsys.readouterr() == ("", "error: stopped\n")


def test_ctrl_c_while_python_executes_a_text_has_its_code_too(tmp_path: Path) -> None:
    """As it does where a dataclass is made; `python -m` would then end itself by the signal."""
    lines = (
        "import sys; from napari_latentseg.cli import app, main",
        "class Command:",
        "    main = staticmethod(lambda **_: exec('raise KeyboardInterrupt'))",
        "app._command = lambda: Command",
        "sys.exit(main(['doctor']))",
    )
    (tmp_path / "interrupted.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "interrupted"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "error: stopped\n")


def test_faults_of_ours_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    class Command:
        @staticmethod
        def main(**_: object) -> None:
            raise ZeroDivisionError

    monkeypatch.setattr(module, "_command", lambda: Command)
    with pytest.raises(ZeroDivisionError):
        module.run(["doctor"])


def test_a_pipe_that_does_not_know_a_letter_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252"))
    print_line("größe 膝.png")
    assert raw.getvalue().decode("cp1252") == "größe ?.png\n"


def test_a_table_has_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([("A", "LONG HEAD"), ("longer", "b")])
    print_table([("A",)], quiet=True)
    assert capsys.readouterr().out == "A       LONG HEAD\nlonger  b\n"


def test_a_bar_leaves_nothing_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("working") as progress:
        progress(0.5)
        print_line("a line")
    found = capsys.readouterr()
    assert (found.out, found.err) == ("a line\n", "")


def test_a_bar_on_a_screen_does_not_take_the_lines_that_go_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen, file = Screen(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("working") as progress:
        progress(0.5)
        print_line("a line")
    assert file.getvalue() == "a line\n"
    assert "working" in screen.getvalue()


def test_what_is_refused_early_does_not_wait_for_torch(tiny_model_folder: Path, tmp_path: Path) -> None:
    """In an interpreter of its own: every one of these ends before torch is loaded."""
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "text.png").write_text("not a picture")
    out = str(tmp_path / "out")
    segment = ["segment", str(tmp_path / "missing.png"), "--out", out, "--model"]
    tiny = str(tiny_model_folder)
    cases = [
        [*segment, "no-such-model"],
        [*segment, tiny],
        [*segment, tiny, "--samples", "0"],
        [*segment, tiny, "--seed", "-1"],
        [*segment, tiny, "--device", "tpu"],
        ["segment", str(tmp_path / "text.png"), "--model", tiny, "--out", out],
        ["segment", str(tmp_path / "text.png"), "--model", tiny, "--out", str(tmp_path / "file.txt" / "out")],
        ["evaluate", "--model", tiny, "--data", str(tmp_path)],
        ["train", "--data", str(tmp_path), "--out", out],
        ["finetune", "--model", tiny, "--data", str(tmp_path / "missing")],
        ["add-replay", str(tmp_path / "missing"), "--data", str(tmp_path)],
        ["add-replay", tiny, "--data", str(tmp_path / "missing")],
        ["models", "compile", "no-such-model"],
        ["models", "info", "no-such-model"],
    ]
    code = (
        "import sys\nfrom napari_latentseg.cli import main\n"
        f"for args in {cases!r}:\n    print(main(args), 'torch' in sys.modules)\n"
        "print(main(['models', 'list']), 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.endswith("True")] == []
    assert done.stdout.split("\n")[: len(cases)] == ["2 False"] * len(cases)
    assert done.stdout.splitlines()[-1] == "0 False"
    assert len(done.stderr.splitlines()) == len(cases)
    assert not (tmp_path / "out").exists()


def test_commands_for_a_terminal_are_taken_out_of_what_is_printed(capsys) -> None:
    hostile = "a\x1b]52;c;cm0gLXJm\x07b\x1b[31mc\x9bd\u202ee"
    print_line(f"{hostile}\tnext\nline")
    print_table([("NAME",), (hostile,)])
    print_json({"title": hostile, "dsc": float("nan"), "list": [float("inf"), 1.5]})
    print_error(str(BadInput(hostile, hostile, hostile)))
    out, err = capsys.readouterr()
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & {*out, *err}
    assert "\tnext\nline" in out
    values = json.loads(out[out.index("{") :])
    assert (values["dsc"], values["list"]) == (None, [None, 1.5])
    assert values["title"].startswith("a\x1b]52")  # escaped in JSON, so that programs read the very text
