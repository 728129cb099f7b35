"""Rules that hold for every command, read from the tree of commands itself."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from napari_latentseg.cli.app import app
from napari_latentseg.cli.command_line import read_command_line
from napari_latentseg.cli.console import json_text
from napari_latentseg.cli.help_groups import OPTION_GROUPS
from napari_latentseg.cli.help_text import SHORT_HELP
from napari_latentseg.errors import BadInput, choose_from
from napari_latentseg.utils import device as device_module
from napari_latentseg.utils.atomic import atomic_path, check_output_file
from napari_latentseg.utils.device import check_device_and_precision, resolve_compute

PLANE = np.random.default_rng(0).integers(0, 256, (37, 53), dtype=np.uint8)


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


TREE: Any = typer.main.get_command(app)
COMMANDS = dict(commands(TREE))
OPTIONS = [
    pytest.param(path, parameter, id=f"{' '.join(path)} {parameter.opts[0]}")
    for path, command in COMMANDS.items()
    for parameter in command.params
    if parameter.param_type_name == "option"
]
WITH_VALUE = [p for p in OPTIONS if not (p.values[1].is_flag or p.values[1].count)]
SHORT = {"--out": "-o", "--model": "-m", "--samples": "-n", "--quiet": "-q"}


def test_the_tree_is_the_whole_command_line() -> None:
    assert len(COMMANDS) > 25
    assert {("segment",), ("models", "export"), ("annotations", "verify")} <= set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_a_short_name(cli: Callable[..., Any], path: tuple[str, ...]) -> None:
    ended = cli(*path, "--verbose", "-h")
    assert (ended.code, ended.errors) == (0, [])
    assert f"Usage: napari-latentseg {' '.join(path)}" in ended.out


@pytest.mark.parametrize(("path", "parameter"), OPTIONS)
def test_an_option_means_the_same_everywhere(path: tuple[str, ...], parameter: Any) -> None:
    for long_name, short_name in SHORT.items():
        assert (long_name in parameter.opts) == (short_name in parameter.opts)
    flags = {"--json", "--overwrite", "--quiet", "--edited", "--resume", "--download"}
    if flags & set(parameter.opts):
        assert parameter.is_flag
    if "--replace" in parameter.opts:
        assert "--overwrite" in parameter.opts
    assert parameter.help
    for name in ("--csv", "--threads", "--device"):
        if name in parameter.opts:
            assert not parameter.is_flag
    if "--device" in parameter.opts:
        assert "--threads" in {name for p in COMMANDS[path].params for name in p.opts}


@pytest.mark.parametrize(("path", "parameter"), WITH_VALUE)
def test_the_next_option_is_never_taken_for_a_value(path: tuple[str, ...], parameter: Any) -> None:
    for name in parameter.opts:
        for arguments in ((name, "-q"), (f"{name}=-q",), (name, "--json")):
            with pytest.raises(BadInput, match=f"{name}: needs a value"):
                read_command_line(TREE, [*path, *arguments])


def test_a_forgotten_value_is_one_line_and_no_file(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused("evaluate", "--model", "m", "--data", "d", "--out", "-q")
    assert message.startswith("--out: needs a value, and '-q' looks like an option")
    assert list(tmp_path.iterdir()) == []
    negative = ["segment", "a.png", "--seed", "-1", "--", "--out", "-q"]
    assert read_command_line(TREE, negative) == negative  # a number is refused by its own range


def test_a_home_folder_that_no_shell_has_put_in_is_refused(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["segment", "~/a.png", "-m", "m"], ["segment", "a.png", "--model=~/m"]):
        assert "begins with ~, which stands for your folder in a shell alone" in refused(*arguments)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "~").mkdir()
    there = ["segment", "~/a.png", "--model", "~backup"]
    assert read_command_line(TREE, there) == there


@pytest.mark.parametrize("word", ["report.json", "=report.json"])
def test_the_former_json_file_of_evaluate_is_told_its_new_name(
    refused: Callable[..., str], word: str
) -> None:
    arguments = [f"--json{word}"] if word.startswith("=") else ["--json", word]
    message = refused("evaluate", "--model", "m", "--data", "d", *arguments)
    assert message == "--json: takes no file: it prints JSON; write --out report.json for a file"


def test_every_command_with_a_model_takes_it_the_same_way(refused: Callable[..., str]) -> None:
    with_option = {path[0] for path, c in COMMANDS.items() if any("--model" in p.opts for p in c.params)}
    assert with_option == {"segment", "fill", "batch", "evaluate", "calibrate", "finetune", "info", "compare"}
    for command in ("calibrate", "finetune"):
        for model in (("--model", "lost"), ("-m", "lost"), ("lost",)):
            assert "no model 'lost'" in refused(command, *model, "--data", "d")
        assert refused(command, "--data", "d").startswith("model: is missing")
        assert "both 'a' and 'b'" in refused(command, "a", "--model", "b", "--data", "d")


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["segmnt"], "'segment'"),
        (["models", "lst"], "'list'"),
        (["segment", "--sample", "3"], "--samples"),
        (["models", "info", "retina-vessel"], "did you mean 'retina-vessels'?"),
        (["train", "--data", ".", "--out", "o", "--method", "sdsegg"], "did you mean 'sdseg'?"),
    ],
)
def test_typing_errors_get_a_suggestion(
    refused: Callable[..., str],
    arguments: list[str],
    suggestion: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert suggestion in refused(*arguments)


def test_a_name_that_is_like_none_gets_the_list() -> None:
    assert choose_from("zzz", ["axial", "coronal"]) == "use one of axial, coronal"


def test_verbose_shows_where_an_error_arose(cli: Callable[..., Any]) -> None:
    ended = cli("models", "info", "lost", "--verbose")
    assert ended.code == 2
    assert ended.errors[0].startswith("error: model: no model 'lost'")
    assert any("in find_model" in line for line in ended.errors)


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_the_shell_completes_commands_and_models(cli: Callable[..., Any], option: str) -> None:
    assert option in cli("--help").out


def test_models_are_completed_by_name() -> None:
    from napari_latentseg.cli.options import _model_names

    assert _model_names("ret") == ["retina-vessels"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_is_valid_whatever_was_computed(value: float) -> None:
    text = json_text({"a": [value, 1.5, {"b": (value,)}], "c": "NaN"})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [None, 1.5, {"b": [None]}], "c": "NaN"}


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:1", "cuda:12", "mps"])
def test_devices_that_may_be_named(device: str) -> None:
    check_device_and_precision(device, "auto")


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "cuda:1000", "CUDA"])
def test_devices_that_cannot_be(device: str) -> None:
    with pytest.raises(BadInput, match=r"device: .* is not known"):
        check_device_and_precision(device, "auto")


def test_a_gpu_that_is_not_there_is_refused_and_one_that_is_there_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device_module, "available_devices", lambda: {"cpu": "CPU"})
    with pytest.raises(BadInput, match="no cuda:1 on this machine; use one of cpu"):
        resolve_compute("cuda:1", "float32")
    monkeypatch.setattr(device_module, "available_devices", lambda: {"cpu": "", "cuda": "", "cuda:1": ""})
    assert resolve_compute("cuda:1", "float32").device == "cuda:1"
    assert resolve_compute("cuda:1", "float32").torch_device().index == 1


def test_threads_reach_torch(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        monkeypatch.setenv(name, "7")
    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    cli("evaluate", "--model", "lost", "--data", "d", "--threads", 3)
    assert counts == [3]
    assert cli("evaluate", "--model", "lost", "--data", "d", "--threads", 0).code == 2


def test_a_file_of_another_kind_is_never_replaced(
    refused: Callable[..., str], cli: Callable[..., Any], tiny_model_folder: Path, tmp_path: Path
) -> None:
    Image.fromarray(PLANE).save(tmp_path / "a.png")
    segment = ("segment", tmp_path / "a.png", "-m", tiny_model_folder, "-n", 1, "-o", tmp_path / "out")
    assert cli(*segment).code == 0
    for name in ("thesis.docx", "scan.nii.gz", "old.csv", "old.nrrd", "old.zip", "old.json", "old.html"):
        (tmp_path / name).write_bytes(b"mine")
    result = tmp_path / "out"
    for ending, arguments in (
        (".csv", ("measure", result, "--csv")),
        (".nrrd", ("convert", tmp_path / "a.png")),
        (".zip", ("models", "export", tiny_model_folder)),
        (".json", ("evaluate", "-m", tiny_model_folder, "--data", tmp_path, "-o")),
        (".html", ("report", result, "--out")),
    ):
        assert "thesis.docx" in refused(*arguments, tmp_path / "thesis.docx")
        if ending != ".nrrd":
            refused(*arguments, tmp_path / "scan.nii.gz")
        assert "old" + ending in refused(*arguments, tmp_path / f"old{ending}")
    kept = [p for p in tmp_path.glob("*.*") if p.name != "a.png"]
    assert [p.read_bytes() for p in kept] == [b"mine"] * 7
    assert cli("measure", result, "--csv", tmp_path / "old.csv", "--overwrite").code == 0
    assert cli("convert", tmp_path / "a.png", tmp_path / "b.tif").code == 0
    assert "already exists" in refused("convert", tmp_path / "a.png", tmp_path / "b.tif")
    assert cli("convert", tmp_path / "a.png", tmp_path / "b.tif", "--overwrite").code == 0


def test_the_values_beside_a_header_are_not_replaced_either(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    Image.fromarray(PLANE).save(tmp_path / "a.png")
    (tmp_path / "b.raw").write_bytes(b"mine")
    refused("convert", tmp_path / "a.png", tmp_path / "b.mhd")
    assert (tmp_path / "b.raw").read_bytes() == b"mine"
    assert not (tmp_path / "b.mhd").exists()


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(BadInput, match=r"a\.csv: cannot be written .No space left"),
        atomic_path(tmp_path / "a.csv"),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.csv"):
        raise FileNotFoundError(2, "of a file that is read")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.txt", "csv", "folder.csv", "there.csv", "x" * 300 + ".csv"])
def test_files_that_cannot_be_written_are_refused_before_the_work(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "there.csv").touch()
    with pytest.raises(BadInput):
        check_output_file(tmp_path / name, (".csv",))


def test_help_and_wrong_lines_come_without_the_large_libraries() -> None:
    """In an interpreter of its own: neither torch nor NumPy is needed to say what is wrong."""
    lines = [["--help"], ["segment", "-h"], ["segmnt"], ["segment"], ["segment", "a", "--out", "-q"]]
    code = (
        "import sys\nfrom napari_latentseg.cli import main\n"
        f"for args in {lines}:\n    main(args)\n"
        "print([n for n in ('torch', 'numpy', 'rich', 'napari', 'scipy') if n in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "group", [(), *(path for path, command in COMMANDS.items() if hasattr(command, "commands"))]
)
def test_the_list_of_commands_is_not_cut_off(cli: Callable[..., Any], group: tuple[str, ...]) -> None:
    listed = cli(*group, "--help").out.partition("Commands:")[2].strip().splitlines()
    assert len(listed) > 1
    assert [line for line in listed if line.endswith("...") or len(line) > 80] == []


def test_short_help_is_of_commands_that_exist() -> None:
    assert set(SHORT_HELP) <= {" ".join(path) for path in COMMANDS}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_names_arguments_as_shells_do(cli: Callable[..., Any], path: tuple[str, ...]) -> None:
    text = cli(*path, "--help").out
    usage = text.partition("\n\n")[0]
    assert not set("{}") & set(usage)
    assert "......" not in usage
    assert "list[" not in text
    names = [p.opts[0] for p in COMMANDS[path].params if p.param_type_name == "argument" and not p.hidden]
    assert not [name for name in names if f" {name} " in f"{usage} "]  # in capitals


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_argument_and_option_is_described(path: tuple[str, ...]) -> None:
    assert not [p.opts[0] for p in COMMANDS[path].params if not p.hidden and not p.help]


@pytest.mark.parametrize("name", OPTION_GROUPS)
def test_options_are_listed_once_under_headings(cli: Callable[..., Any], name: str) -> None:
    text = "\n" + cli(name, "--help").out.partition("\n\nNeeded:")[2]  # after what is said of the command
    options = {p.opts[0] for p in COMMANDS[(name,)].params if p.opts[0].startswith("--") and not p.hidden}
    grouped = [option for _, members in OPTION_GROUPS[name] for option in members]
    assert len(grouped) == len(set(grouped))
    assert options <= set(grouped)  # a new option gets a place
    assert "\nOutput:\n" in text
    for option in options:
        assert len(re.findall(rf"^  (?:-\w, )?{option}\b(?!-)", text, re.MULTILINE)) == 1, option


@pytest.mark.parametrize(
    ("option", "value"), [("--samples", "five"), ("--threshold", "0,5"), ("--threads", "0")]
)
def test_a_value_of_another_kind_is_refused_in_plain_words(
    refused: Callable[..., str], option: str, value: str
) -> None:
    text = refused("segment", "a.png", "--model", "any-structure", "--out", "out", option, value)
    assert f"Invalid value for '{option}'" in text
    assert "Input should" not in text  # versions of typer differ in the words after it


def test_a_folder_without_access_is_named_in_one_line(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    locked = tmp_path / "locked"

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(locked))

    monkeypatch.setattr("napari_latentseg.caselist.case_list.find_listed_cases", refuse)
    said = refused("cases", tmp_path)
    assert (
        said == f"{locked}: cannot be read or written by this user; ask for access, or choose another place"
    )


def test_a_prompt_that_is_left_ends_the_command_as_ctrl_c_does(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Typer's error for it is a RuntimeError."""

    def leave(*_: object, **__: object) -> None:
        raise typer.Abort

    monkeypatch.setattr("napari_latentseg.caselist.case_list.find_listed_cases", leave)
    ended = cli("cases", tmp_path)
    assert (ended.code, ended.errors) == (130, ["error: stopped"])


LONG = "x" * 300 + ".png"
WITH_A_LONG_NAME = {
    "info": (LONG,),
    "convert": (LONG, "b.png"),
    "segment": (LONG, "--model", "any-structure", "--out", "out"),
    "batch": (LONG, "--model", "any-structure", "--out", "out"),
    "cases": (LONG,),
    "measure": (LONG,),
    "rank": (LONG,),
    "report": (LONG, "--out", "a.html"),
    "compare": (LONG, LONG),
    "change": (LONG, LONG),
    "edit": (LONG, "--out", "b.png", "--smooth", "1"),
    "fill": (LONG, "--slices", LONG, "--out", "out"),
    "evaluate": (LONG, "--model", "any-structure"),
    "calibrate": ("any-structure", "--data", LONG),
    "train": (LONG, "--out", "model", "--method", "gms"),
}


@pytest.mark.parametrize("command", WITH_A_LONG_NAME)
def test_a_name_that_no_file_can_have_is_one_line(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(command, *WITH_A_LONG_NAME[command])
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_an_argument_as_the_help_does(refused: Callable[..., str]) -> None:
    assert "Missing argument 'SCAN'" in refused("info")
