"""What the doctor finds, on this machine and on ones that lack something."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from napari_latentseg import doctor
from napari_latentseg.codecs.loading import weights_hash
from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.models import store
from napari_latentseg.models.card import CARD, ModelCard
from napari_latentseg.models.layout import WEIGHTS_FILE
from napari_latentseg.utils.weights import file_sha256


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder with one model on the embedded codec, in a person's folder; no models of the package."""
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "ada"))
    folder = tmp_path / "ada" / "data"
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(folder))
    model = folder / "models" / "lesions"
    model.mkdir(parents=True)
    (model / WEIGHTS_FILE).write_bytes(b"not read by the doctor")
    spec = CodecSpec(
        kind="compact", name="latentseg-compact", channels=32, sha256=weights_hash(store.embedded_codec())
    )
    ModelCard.model_validate(
        {
            "name": "lesions", "title": "Lesions", "method": "gms", "codec": spec, "preprocess": {},
            "augment": {}, "sources": ["none"],
            "classes": [{"label": 1, "name": "lesion", "color": "#000000"}],
            "files": {WEIGHTS_FILE: file_sha256(model / WEIGHTS_FILE)},
        }
    ).write(model / CARD)  # fmt: skip
    return folder


def about_models(report: dict[str, object]) -> list[dict[str, str]]:
    return [p for p in report["problems"] if p["what"].startswith("model ")]


def test_facts(home: Path) -> None:
    report = doctor.diagnose()
    facts = report["facts"]
    assert facts["torch"] == version("torch")
    assert facts["python"].count(".") == 2
    assert facts["cores"] >= 1
    assert facts["devices"].startswith("cpu (")
    assert facts["arithmetic"] in ("float32, bfloat16 is fast here", "float32, bfloat16 is slow here")
    assert "lesions" in facts["models"].split(", ")
    assert about_models(report) == []
    json.dumps(report)


def test_every_problem_has_a_remedy_and_no_path_tells_a_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_BINDINGS", ())
    monkeypatch.setattr(doctor, "_PACKAGES", ("no-such-package",))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    (home / "models" / "lesions" / WEIGHTS_FILE).unlink()
    report = doctor.diagnose()
    assert {p["what"].partition(" (")[0] for p in report["problems"]} >= {
        "no-such-package",
        "a Qt binding",
        "a display",
        f"model lesions: {WEIGHTS_FILE} is missing",
    }
    assert all(p["mend"] for p in report["problems"])
    assert home.parent.name not in {part for p in report["problems"] for part in Path(p["what"]).parts}
    assert Path(report["facts"]["installed under"]) == Path("~/data")
    assert report["facts"]["qt"] == "not installed"
    assert report["facts"]["display"] == "none"


def break_codec(home: Path) -> None:
    path = home / "models" / "lesions" / CARD
    card = json.loads(path.read_text("utf-8"))
    card["codec"]["sha256"] = "0" * 64
    path.write_text(json.dumps(card), "utf-8")


def lose_codec(home: Path) -> None:
    path = home / "models" / "lesions" / CARD
    path.write_text(path.read_text("utf-8").replace("latentseg-compact", "owner/lost"), "utf-8")


FAULTS = {
    "weights changed": (
        lambda home: (home / "models" / "lesions" / WEIGHTS_FILE).write_bytes(b"other"),
        f"model lesions: {WEIGHTS_FILE} is not the file listed in the card",
    ),
    "a broken card": (
        lambda home: (home / "models" / "lesions" / CARD).write_text("{}", "utf-8"),
        "model lesions: card.json, name is missing",
    ),
    "another codec": (
        break_codec,
        "model lesions: codec latentseg-compact has other weights on this machine",
    ),
    "a lost codec": (lose_codec, "model lesions: codec owner/lost is not on this machine"),
}


@pytest.mark.parametrize(("fault", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_a_model_that_cannot_be_used_is_named(home: Path, fault, expected: str) -> None:
    shutil.copytree(home / "models" / "lesions", home / "models" / "sound")
    fault(home)
    (problem,) = about_models(doctor.diagnose())
    assert problem["what"].startswith(expected)
    assert problem["mend"]


def test_a_broken_torch_is_told_and_does_not_end_the_visit(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> dict[str, str]:
        raise OSError("libtorch.so: no such file")

    monkeypatch.setattr("napari_latentseg.utils.device.available_devices", broken)
    report = doctor.diagnose()
    assert report["facts"]["devices"] == "unknown"
    assert {"what": "a working torch (OSError)", "mend": "pip install --force-reinstall torch"} in report[
        "problems"
    ]
    assert "models" in report["facts"]


def test_a_binding_without_metadata_of_its_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As conda's distribution of PyQt5 has it."""

    def version_of(name: str) -> str:
        if name == "json":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(doctor, "_BINDINGS", ("json",))  # a module that is there
    monkeypatch.setattr(doctor, "version", version_of)
    report = doctor.diagnose()
    assert report["facts"]["qt"].strip() == "json"
    assert "a Qt binding" not in [p["what"] for p in report["problems"]]


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"DISPLAY": ":7"}, ":7"),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, "wayland-0"),
        ("linux", {}, "none"),
        ("darwin", {}, "the desktop"),
        ("win32", {}, "the desktop"),
    ],
)
def test_display(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr(doctor.sys, "platform", platform)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
        if name in environment:
            monkeypatch.setenv(name, environment[name])
    facts: dict[str, object] = {}
    problems: list[dict[str, str]] = []
    doctor._check_display(facts, problems)
    assert facts["display"] == expected
    assert any("display" in p["what"] for p in problems) == (expected == "none")
