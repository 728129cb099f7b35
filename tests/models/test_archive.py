"""A model as one file, there and back; and files that are none."""

from __future__ import annotations

import json
import pickle
import shutil
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_latentseg import api
from napari_latentseg.errors import BadInput
from napari_latentseg.models.archive import export_model, install_archive
from napari_latentseg.models.card import CARD, read_card
from napari_latentseg.models.layout import REPLAY_FILE, WEIGHTS_FILE
from napari_latentseg.models.store import load_model, model_folders
from napari_latentseg.utils.weights import file_sha256

Entries = list[tuple[zipfile.ZipInfo | str, bytes]]


@pytest.fixture
def exported(lesions: Path, tmp_path: Path) -> Path:
    return export_model("lesions", tmp_path / "lesions.zip")


@pytest.fixture
def changed(exported: Path, lesions: Path, tmp_path: Path) -> Callable[[Callable[[Entries], Entries]], Path]:
    """Writes the exported file again with other entries, and takes the model out of the store."""

    def change(how: Callable[[Entries], Entries]) -> Path:
        with zipfile.ZipFile(exported) as archive:
            entries: Entries = [(info, archive.read(info)) for info in archive.infolist()]
        path = tmp_path / "changed.zip"
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are there twice
            for info, content in how(entries):
                archive.writestr(info, content)
        shutil.rmtree(lesions)
        return path

    return change


def test_there_and_back_every_byte_is_the_same(exported: Path, lesions: Path) -> None:
    before = {p.name: p.read_bytes() for p in lesions.iterdir()}
    place = install_archive(exported, "lesions-2")
    after = {p.name: p.read_bytes() for p in place.iterdir()}
    assert before.keys() == after.keys()
    assert all(before[name] == after[name] for name in before if name != CARD)
    assert load_model("lesions-2").card.classes == load_model("lesions").card.classes
    assert not [p for p in place.parent.iterdir() if p.name.startswith(".")]


def test_the_same_model_gives_the_same_file(exported: Path, tmp_path: Path) -> None:
    assert file_sha256(export_model("lesions", tmp_path / "b.zip")) == file_sha256(exported)


def test_the_api_takes_a_zip(exported: Path) -> None:
    assert api.install_model(exported, name="other").name == "other"
    with pytest.raises(BadInput, match="a model 'other' exists already"):
        api.install_model(exported, name="other")


def test_replay_stays_at_home_unless_it_is_asked_for(lesions: Path, tmp_path: Path) -> None:
    (lesions / REPLAY_FILE).write_bytes((lesions / WEIGHTS_FILE).read_bytes())
    card = read_card(lesions)
    files = card.files | {REPLAY_FILE: file_sha256(lesions / REPLAY_FILE)}
    card.model_copy(update={"files": files}).write(lesions / CARD)
    with zipfile.ZipFile(export_model("lesions", tmp_path / "with.zip", replay=True)) as archive:
        assert f"lesions/{REPLAY_FILE}" in archive.namelist()
    without = export_model("lesions", tmp_path / "without.zip")
    with zipfile.ZipFile(without) as archive:
        assert f"lesions/{REPLAY_FILE}" not in archive.namelist()
    assert REPLAY_FILE not in read_card(install_archive(without, "bare")).files


def test_a_damaged_model_is_not_exported(lesions: Path, tmp_path: Path) -> None:
    (lesions / WEIGHTS_FILE).write_bytes(b"no")
    with pytest.raises(BadInput, match="SHA-256 differs"):
        export_model("lesions", tmp_path / "a.zip")
    assert list(tmp_path.glob("*.zip")) == []


def renamed(old: str, new: str) -> Callable[[Entries], Entries]:
    def change(entries: Entries) -> Entries:
        return [
            (new if isinstance(e, zipfile.ZipInfo) and e.filename == f"lesions/{old}" else e, content)
            for e, content in entries
        ]

    return change


def link(entries: Entries) -> Entries:
    info = zipfile.ZipInfo("lesions/notes.json")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return [*entries, (info, b"/etc/passwd")]


def other_weights(entries: Entries) -> Entries:
    return [(e, c[:-1] + b"x" if e.filename.endswith(WEIGHTS_FILE) else c) for e, c in entries]  # type: ignore[union-attr]


def with_pickle_as_weights(entries: Entries) -> Entries:
    """A pickle under the name of the weights, and a card that knows its hash."""
    import hashlib

    content = pickle.dumps({"a": 1})
    found: Entries = []
    for e, c in entries:
        assert isinstance(e, zipfile.ZipInfo)
        if e.filename.endswith(CARD):
            card = json.loads(c)
            card["files"][WEIGHTS_FILE] = hashlib.sha256(content).hexdigest()
            c = json.dumps(card).encode()
        found.append((e, content if e.filename.endswith(WEIGHTS_FILE) else c))
    return found


REFUSED = {
    "a way out": (renamed("split.json", "lesions/../../split.json"), "which is not a file of a model"),
    "a root": (renamed("split.json", "/split.json"), "which is not a file of a model"),
    "a drive": (renamed("split.json", "C:\\split.json"), "which is not a file of a model"),
    "two folders": (renamed("split.json", "other/split.json"), "which is not a file of a model"),
    "a deep folder": (renamed("split.json", "lesions/a/split.json"), "which is not a file of a model"),
    "hidden": (renamed("split.json", "lesions/.split.json"), "which is not a file of a model"),
    "a link": (link, "which is a link"),
    "a pickle": (lambda e: [*e, ("lesions/model.pth", b"x")], "a file type that no model has"),
    "code": (lambda e: [*e, ("lesions/setup.py", b"x")], "a file type that no model has"),
    "a stranger": (lambda e: [*e, ("lesions/more.json", b"{}")], "which its card does not list"),
    "twice": (lambda e: [*e, e[-1]], "twice"),
    "no card": (lambda e: [x for x in e if not x[0].filename.endswith(CARD)], f"contains no {CARD}"),  # type: ignore[union-attr]
    "no weights": (
        lambda e: [x for x in e if not x[0].filename.endswith(WEIGHTS_FILE)],
        f"lacks '{WEIGHTS_FILE}'",
    ),  # type: ignore[union-attr]
    "other weights": (other_weights, "SHA-256 differs"),
    "a pickle in disguise": (with_pickle_as_weights, "is not a safetensors file"),
    "too many": (lambda e: [*e, *((f"lesions/f{i}.json", b"") for i in range(300))], "larger than any"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_model_is_refused_and_leaves_nothing(
    changed: Callable[[Callable[[Entries], Entries]], Path], home: Path, name: str
) -> None:
    how, why = REFUSED[name]
    path = changed(how)
    with pytest.raises(BadInput, match=why) as caught:
        install_archive(path)
    assert "\n" not in str(caught.value)
    assert "lesions" not in model_folders()
    assert list((home / "models").iterdir()) == []
    assert not (home / "split.json").exists()


def test_a_bomb_is_stopped_at_what_it_says(
    changed: Callable[[Callable[[Entries], Entries]], Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_latentseg.models.archive._MAX_BYTES", 1000)
    with pytest.raises(BadInput, match="larger than any model"):
        install_archive(changed(lambda e: e))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip at all", None])
def test_what_is_no_zip_is_said(exported: Path, lesions: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(exported.read_bytes()[:-300] if content is None else content)
    with pytest.raises(BadInput, match="damaged, or not a zip file"):
        install_archive(path, "new")
