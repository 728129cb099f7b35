"""The former names of options still work, and errors name the present ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import typer

from napari_latentseg.cli.app import app
from napari_latentseg.cli.options import _FORMER_NAMES, with_current_names, with_option_name
from napari_latentseg.errors import BadInput


def test_a_former_name_is_replaced_in_its_own_command_only() -> None:
    line = ["segment", "a.png", "--box", "0,0,32,32", "--smallest=3", "--source", "none", "--out", "--level"]
    assert with_current_names(line) == [
        "segment", "a.png", "--roi", "0,0,32,32", "--min-size=3", "--sampling", "none", "--out", "--level",
    ]  # fmt: skip
    assert with_current_names(["rank", "--box"]) == ["rank", "--box"]
    assert with_current_names([]) == []


@pytest.mark.parametrize("command", _FORMER_NAMES)
def test_the_present_names_are_options_and_the_former_are_not(command: str) -> None:
    parameters = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    options = {name for parameter in parameters for name in parameter.opts}
    assert set(_FORMER_NAMES[command].values()) <= options
    assert not set(_FORMER_NAMES[command]) & options


def test_an_error_about_a_field_names_its_option() -> None:
    error = BadInput("box", "is too small", "enlarge it")
    assert str(with_option_name(error, ["segment"])) == "roi: is too small; enlarge it"
    assert with_option_name(error, ["rank"]) is error
    assert with_option_name(error, []) is error


def test_a_former_name_works(refused: Callable[..., str], tiny_model_folder, tmp_path) -> None:
    line = ("segment", tmp_path / "a.png", "--model", tiny_model_folder, "--out", tmp_path)
    assert refused(*line, "--source", "magic").startswith("sampling: 'magic' is not known")


def test_help_hides_the_former_names(cli: Callable) -> None:
    text = cli("segment", "--help").out
    assert "--roi" in text
    assert "--box" not in text
    assert "add-replay" in cli("--help").out
    assert "\n  replay" not in cli("--help").out
    assert cli("replay", "--help").code == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("segment", "", "--model", "m", "--out", "o"), "arguments: one is empty"),
        (("segment", "a.png", "--model", "m", "--out", ""), "--out: is empty"),
        (("segment", "a.png", "--model", "m", "--out="), "--out: is empty"),
        (("measure", "", "--csv", "a.csv"), "arguments: one is empty"),
    ],
)
def test_an_empty_path_is_not_the_folder_that_one_is_in(
    refused: Callable, arguments: tuple[str, ...], named: str
) -> None:
    assert refused(*arguments).startswith(named)
