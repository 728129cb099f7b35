"""`models` and `doctor`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from napari_latentseg.models.card import ModelCard


@pytest.fixture
def installed(
    tiny_model_folder: Path, tiny_codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A home of its own with one model."""
    shutil.copytree(tiny_codec_folder, tmp_path / "codecs" / "tiny-codec")
    shutil.copytree(tiny_model_folder, tmp_path / "models" / "tiny-whole")
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path))
    return tmp_path / "models" / "tiny-whole"


@pytest.mark.parametrize("args", [["models"], ["models", "list"]])
def test_models_are_listed(cli, installed: Path, args: list[str]) -> None:
    ended = cli(*args)
    assert (ended.code, ended.errors) == (0, [])
    head, *rows = ended.out.splitlines()
    assert head.split() == ["NAME", "WHAT", "METHOD", "DICE", "SAMPLES", "FROM"]
    (row,) = [r for r in rows if r.startswith("tiny-whole ")]
    assert row.split() == ["tiny-whole", "A", "tiny", "model", "GMS", "variant", "-", "augment,", "none"]


@pytest.mark.parametrize("args", [["models", "--json"], ["models", "list", "--json"]])
def test_models_are_listed_as_json(cli, installed: Path, args: list[str]) -> None:
    ended = cli(*args)
    cards = [ModelCard.model_validate(card) for card in json.loads(ended.out)]
    assert ended.code == 0
    assert "tiny-whole" in [card.name for card in cards]


def test_a_card_is_shown(cli, installed: Path) -> None:
    text = cli("models", "info", "tiny-whole")
    assert text.code == 0
    for word in (
        "tiny-whole",
        "GMS variant (width 16, compact codec in place of SD-VAE)",
        "Not a medical device",
    ):
        assert word in text.out
    card = ModelCard.model_validate_json(cli("models", "info", "tiny-whole", "--json").out)
    assert card.name == "tiny-whole"
    assert cli("models", "info", installed).out == text.out


def test_an_unknown_model_is_named(refused, installed: Path) -> None:
    message = refused("models", "info", "no-such")
    assert "no model 'no-such'" in message
    assert "tiny-whole" in message


def test_a_model_measured_otherwise_is_listed_all_the_same(cli, installed: Path) -> None:
    path = installed / "card.json"
    metric = {"data": "d", "images": 1, "samples": 1, "source": "none", "values": {"psnr": 30.0}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metrics": [metric]}))
    ended = cli("models", "list")
    assert ended.code == 0
    assert "tiny-whole" in ended.out


# -- doctor


def test_the_doctor_reports_as_json(cli) -> None:
    ended = cli("doctor", "--json")
    report = json.loads(ended.out)
    assert set(report) == {"facts", "problems"}
    assert {"python", "torch", "devices", "display", "models"} <= set(report["facts"])
    assert all({"what", "mend"} <= set(problem) for problem in report["problems"])
    assert ended.code == int(any("needed" not in problem for problem in report["problems"]))


DISPLAY = {"what": "a display", "mend": "log in at a desktop", "needed": "only by the windows"}
TORCH = {"what": "torch", "mend": "pip install torch"}


@pytest.mark.parametrize(("problems", "code"), [([], 0), ([DISPLAY], 0), ([TORCH], 1), ([DISPLAY, TORCH], 1)])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_missing_display_alone_is_no_failure(
    cli, monkeypatch: pytest.MonkeyPatch, problems: list[dict[str, str]], code: int, as_json: bool
) -> None:
    monkeypatch.setattr(
        "napari_latentseg.doctor.diagnose", lambda: {"facts": {"python": "3"}, "problems": problems}
    )
    ended = cli("doctor", *(["--json"] if as_json else []))
    assert ended.code == code
    for problem in problems:
        assert problem["mend"] in ended.out
    assert ("nothing is missing" in ended.out) == (not problems and not as_json)


def test_without_a_display_the_real_report_says_who_needs_it(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    problems = json.loads(cli("doctor", "--json").out)["problems"]
    assert [p["needed"] for p in problems if p["what"].startswith("a display")] == ["only by the windows"]
