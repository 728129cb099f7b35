"""A model finds its codec by the hash of its weights, wherever it is called from."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
from tests.helpers.autoencoders import write_compact, write_small_kl

from napari_latentseg import api, doctor
from napari_latentseg.codecs.store import add_codec, find_codec, list_codecs
from napari_latentseg.errors import BadInput
from napari_latentseg.models import codec_lookup
from napari_latentseg.models.card import read_card
from napari_latentseg.models.codec_lookup import MissingCodec, codec_folder, keep_given_codec, locate_codec
from napari_latentseg.models.codec_use import models_by_codec
from napari_latentseg.models.store import load_model


@pytest.fixture
def moved(home: Path, tmp_path: Path) -> Path:
    """The codec of `lesions`, out of the user's folder."""
    return Path(shutil.move(home / "codecs" / "lab-codec", tmp_path / "elsewhere" / "lab-codec"))


@pytest.fixture
def sha256(home: Path) -> str:
    return read_card(home / "models" / "lesions").codec.sha256


def test_a_kept_codec_is_found_from_any_folder(
    moved: Path, sha256: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingCodec) as missing:
        load_model("lesions")
    assert (missing.value.name, missing.value.sha256) == ("lab-codec", sha256)
    assert str(missing.value) == (
        f"codec: lab-codec is not on this machine (SHA-256 {sha256[:12]}); add it with"
        " `napari-latentseg codecs add FOLDER`, or give its folder with --codec"
    )
    add_codec(moved)
    shutil.rmtree(moved)
    for folder in (tmp_path, moved.parent, Path("/")):
        monkeypatch.chdir(folder)
        assert load_model("lesions").card.name == "lesions"


def test_a_folder_of_that_name_in_the_current_folder_is_not_the_codec(
    moved: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(moved.parent)
    with pytest.raises(MissingCodec, match="lab-codec is not on this machine"):
        load_model("lesions")
    assert load_model("lesions", "lab-codec").card.name == "lesions"  # it is, where a person gives it


def test_a_kept_codec_of_the_same_name_is_not_the_codec(moved: Path, home: Path, tmp_path: Path) -> None:
    write_compact(tmp_path / "other", 9)
    add_codec(tmp_path / "other", "lab-codec")
    with pytest.raises(MissingCodec, match="lab-codec is not on this machine"):
        load_model("lesions")
    with pytest.raises(BadInput, match=r"has other weights .* than lab-codec"):
        load_model("lesions", "lab-codec")


def test_a_codec_of_another_hash_is_refused_and_both_are_named(home: Path, sha256: str) -> None:
    other = add_codec(home / "codecs" / "other-codec").sha256
    with pytest.raises(BadInput, match=rf"\(SHA-256 {other[:12]}\) than lab-codec \({sha256[:12]}\)"):
        load_model("lesions", home / "codecs" / "other-codec")


def test_what_a_person_gives_is_a_path_first(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_compact(tmp_path / "work" / "vae", 4)
    write_compact(tmp_path / "kept" / "vae", 5)
    kept = add_codec(tmp_path / "kept" / "vae", "vae")
    assert codec_folder("vae") == codec_folder(kept.sha256) == codec_folder(kept.sha256[:10]) == kept.path
    monkeypatch.chdir(tmp_path / "work")
    assert codec_folder("vae") == tmp_path / "work" / "vae"


def test_a_pointer_to_a_folder_that_is_gone(moved: Path, sha256: str, home: Path) -> None:
    kept = add_codec(moved, pointer=True)
    assert load_model("lesions").card.name == "lesions"
    shutil.rmtree(moved)
    with pytest.raises(
        MissingCodec, match="was kept as a pointer to 'lab-codec', which is not there any more"
    ):
        load_model("lesions")
    with pytest.raises(MissingCodec):
        codec_folder(kept.name)
    (problem,) = [p for p in doctor.diagnose()["problems"] if p["what"].startswith("model lesions")]
    assert str(moved.parent) not in str(problem)
    assert "codecs add" in problem["mend"]


def test_a_linked_file_that_was_overwritten_is_noticed(moved: Path, home: Path) -> None:
    kept = add_codec(moved)
    write_compact(moved.with_name("new"), 8)
    shutil.copyfile(moved.with_name("new") / "codec.safetensors", kept.path / "codec.safetensors")
    with pytest.raises(MissingCodec, match="lab-codec has other weights on this machine"):
        load_model("lesions")


def test_the_doctor_is_content_with_a_kept_codec(moved: Path, home: Path) -> None:
    def about() -> list[str]:
        return [p["what"] for p in doctor.diagnose()["problems"] if "lesions" in p["what"]]

    assert len(about()) == 1
    add_codec(moved)
    assert about() == []
    assert doctor.diagnose()["facts"]["codecs"] == "lab-codec"


@pytest.mark.parametrize("how", ["folder", "zip", "version"])
def test_installing_with_a_codec_keeps_it(
    home: Path, moved: Path, sha256: str, tmp_path: Path, how: str
) -> None:
    notes: list[str] = []
    source: Path = tmp_path / "given"
    shutil.copytree(home / "models" / "lesions", source)
    if how == "zip":
        source = api.export_model(source, tmp_path / "lesions.zip")
    if how == "version":
        source = _fine_tuned(home, moved, tmp_path / "tuned")
        api.install_model(source, codec=moved, as_version=True, on_note=notes.append)
    else:
        api.install_model(source, name="again", codec=str(moved), on_note=notes.append)
    (kept,) = list_codecs()
    assert (kept.sha256, kept.name) == (sha256, "lab-codec")
    assert notes == [kept.describe()]
    shutil.rmtree(moved)
    for name in ("lesions", *(["again"] if how != "version" else [])):
        assert load_model(name).card.codec.sha256 == sha256
    assert models_by_codec()[sha256] == sorted({"lesions", *(["again"] if how != "version" else [])})


def _fine_tuned(home: Path, codec: Path, folder: Path) -> Path:
    """A model that was fine-tuned from `lesions`."""
    import torch

    from napari_latentseg.models.card import Ancestor
    from napari_latentseg.models.folder import save_model_folder
    from napari_latentseg.models.layout import WEIGHTS_FILE

    model = load_model("lesions", codec)
    with torch.no_grad():
        for weight in model.method.trainable_modules.parameters():
            weight.add_(0.01)
    base = Ancestor(name="lesions", version="1", sha256=model.card.files[WEIGHTS_FILE])
    save_model_folder(
        folder, model.method, model.card.replace(lineage=(base,), parent="lesions 1", version="2")
    )
    codec_lookup._load_cached.cache_clear()
    return folder


def test_a_model_that_is_refused_leaves_no_codec(home: Path, moved: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(home / "models" / "lesions", tmp_path / "given"))
    (source / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(BadInput):
        api.install_model(source, name="again", codec=moved)
    assert list_codecs() == []


@pytest.mark.parametrize("given", ["lab-codec", "embedded", "owner/lost", None])
def test_what_is_found_anyway_is_not_kept_twice(home: Path, given: str | None) -> None:
    assert keep_given_codec(given, read_card(home / "models" / "lesions").codec) is None
    assert list_codecs() == []


def test_a_needed_codec_is_removed_only_by_force(home: Path, moved: Path, sha256: str) -> None:
    kept = api.add_codec(moved)
    with pytest.raises(BadInput, match="codec lab-codec: is needed by lesions; remove these models first"):
        api.remove_codec("lab-codec")
    assert find_codec(sha256) == kept.path
    assert api.remove_codec(sha256[:12], force=True) == kept
    with pytest.raises(MissingCodec):
        api.check_codec("lesions")


def test_an_error_about_a_codec_travels_between_processes() -> None:
    error = MissingCodec.of("owner/name", "abc", "0" * 64, "is not here")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.name, copy.revision, copy.sha256, str(copy)) == ("owner/name", "abc", "0" * 64, str(error))
    assert "codecs add owner/name --revision abc --download" in copy.remedy


def test_a_repository_is_downloaded_only_on_request(
    home: Path, moved: Path, sha256: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_latentseg.models import hub

    asked: list[tuple[str, str | None]] = []

    def download(repository: str, revision: str | None = None) -> Path:
        asked.append((repository, revision))
        return moved

    monkeypatch.setattr(hub, "download_codec", download)
    with pytest.raises(MissingCodec, match="lab/codec is not on this machine"):
        api.add_codec("lab/codec")
    assert asked == []
    assert api.add_codec("lab/codec", revision="v1", download=True).sha256 == sha256
    assert asked == [("lab/codec", "v1")]
    assert locate_codec(read_card(home / "models" / "lesions").codec) == find_codec(sha256)


def test_a_published_checkpoint_keeps_its_codec(home: Path, tmp_path: Path) -> None:
    import torch

    from napari_latentseg.codecs.loading import load_codec
    from napari_latentseg.methods.registry import build_method
    from napari_latentseg.models.gms_checkpoint import KEY_MAP

    folder = write_small_kl(tmp_path / "sd" / "vae")
    ours = build_method("gms", load_codec(folder), {}).trainable_modules["mapper"].state_dict()
    checkpoint = tmp_path / "best_model.pth"
    torch.save({"model": {theirs: ours[name] for theirs, name in KEY_MAP.items()}}, checkpoint)
    card = api.install_model(checkpoint, name="gms-published", codec=folder)
    shutil.rmtree(folder)
    assert (card.codec.name, find_codec(card.codec.sha256) is not None) == ("sd", True)
    assert load_model("gms-published").card == card
