"""The models and codecs at hand, and in which order they are found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.errors import BadInput
from napari_latentseg.models import store
from napari_latentseg.models.card import CARD, read_card
from napari_latentseg.models.variant import variant_text

EMBEDDED = sorted(p.parent.name for p in store.embedded_codec().parent.glob(f"*/{CARD}"))


def test_the_user_s_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path))
    assert store.data_home() == tmp_path
    for value in ("", None):
        monkeypatch.delenv("NAPARI_LATENTSEG_HOME") if value is None else monkeypatch.setenv(
            "NAPARI_LATENTSEG_HOME", value
        )
        assert store.data_home().name == "napari-latentseg"
        assert store.data_home() != tmp_path


def test_what_is_installed_is_found_by_name(home: Path, lesions: Path) -> None:
    assert store.find_model("lesions") == lesions
    assert store.model_folders()["lesions"] == lesions
    assert store.list_cards()["lesions"] == read_card(lesions)
    assert store.load_model("lesions").card.title == "Lesions"


def test_the_user_s_own_goes_before_the_package_s(
    home: Path, lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    for name in ("lesions", "vessels"):
        shutil.copytree(lesions, package / name)
    monkeypatch.setattr(store, "_embedded_root", lambda: package)
    assert store.model_folders() == {"lesions": lesions, "vessels": package / "vessels"}
    shutil.rmtree(lesions)
    assert store.find_model("lesions") == package / "lesions"


@pytest.mark.parametrize("as_path", [False, True])
def test_a_folder_is_found_as_a_folder(home: Path, lesions: Path, tmp_path: Path, as_path: bool) -> None:
    shutil.copytree(lesions, tmp_path / "elsewhere")
    given = tmp_path / "elsewhere" if as_path else str(tmp_path / "elsewhere")
    assert store.find_model(given) == tmp_path / "elsewhere"
    assert store.load_model(given).folder == tmp_path / "elsewhere"


def test_a_name_goes_before_a_folder_and_a_path_before_a_name(
    home: Path, lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of a model just trained, called as an installed one is."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(lesions, "lesions")
    assert store.find_model("lesions") == lesions
    assert store.find_model("./lesions").resolve() == tmp_path / "lesions"
    assert store.find_model(Path("lesions")).resolve() == tmp_path / "lesions"


@pytest.mark.parametrize("name", ["lost", "", "/nowhere/at/all"])
def test_a_model_that_is_not_there(home: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"use one of .*lesions.*, or the folder of a model"):
        store.find_model(name)


def test_a_folder_without_a_card(home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"empty: holds no card\.json"):
        store.find_model(tmp_path / "empty")


def test_without_any_model_none_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path / "none"))
    monkeypatch.setattr(store, "_embedded_root", lambda: tmp_path / "nothing")
    assert store.list_cards() == {}
    with pytest.raises(BadInput, match=r"no model 'lesions'; give the folder of a model$"):
        store.find_model("lesions")


def test_a_broken_card_is_left_out_of_the_list(home: Path, lesions: Path) -> None:
    shutil.copytree(lesions, home / "models" / "broken")
    (home / "models" / "broken" / CARD).write_text("{}", "utf-8")
    assert "lesions" in store.list_cards()
    assert "broken" not in store.list_cards()
    with pytest.raises(BadInput, match=r"card\.json, name"):
        store.load_model("broken")


# --- codecs --------------------------------------------------------------------------------------------


def spec(home: Path) -> CodecSpec:
    return read_card(home / "models" / "lesions").codec


def test_where_a_codec_is_found(home: Path, tmp_path: Path) -> None:
    assert store.codec_folder("lab-codec") == home / "codecs" / "lab-codec"
    assert store.codec_folder(str(tmp_path)) == tmp_path
    for name in ("embedded", "latentseg-compact"):
        assert store.codec_folder(name) == store.embedded_codec()
    (home / "codecs" / "owner--name").mkdir()
    assert store.codec_folder("owner/name") == home / "codecs" / "owner--name"


@pytest.mark.parametrize(
    ("revision", "said"), [(None, "owner/lost is not"), ("v1", r"owner/lost \(revision v1\)")]
)
def test_a_codec_that_is_not_at_hand(home: Path, revision: str | None, said: str) -> None:
    with pytest.raises(BadInput, match=f"codec: {said}.*--codec, .*--download"):
        store.codec_folder("owner/lost", revision)


def test_a_codec_given_by_its_folder(home: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    (home / "codecs" / "lab-codec").rename(moved)
    with pytest.raises(BadInput, match="lab-codec is not on this machine"):
        store.load_model("lesions")
    assert store.load_model("lesions", codec=moved).card.name == "lesions"
    assert store.load_model("lesions", codec=str(moved)).card.name == "lesions"


def test_another_codec_is_refused(home: Path) -> None:
    """Same shapes, other weights: its masks would be wrong without a sign."""
    with pytest.raises(BadInput, match=r"other-codec: has other weights \(.*\) than lab-codec \(.*--codec"):
        store.load_model("lesions", codec=home / "codecs" / "other-codec")


def test_the_codec_is_read_once_and_again_when_it_changed(home: Path) -> None:
    first = store.codec_for(spec(home))
    assert store.codec_for(spec(home)) is first
    other = spec(home).model_copy(
        update={"sha256": store.open_codec(str(home / "codecs" / "other-codec"))[1].sha256}
    )
    shutil.rmtree(home / "codecs" / "lab-codec")
    shutil.copytree(home / "codecs" / "other-codec", home / "codecs" / "lab-codec")
    assert store.codec_for(other) is not first


@pytest.mark.parametrize("how", ["by name", "by folder"])
def test_what_a_card_says_of_a_codec(home: Path, how: str) -> None:
    folder = home / "codecs" / "lab-codec"
    codec, found = store.open_codec("lab-codec" if how == "by name" else str(folder))
    assert found == spec(home)
    assert (found.name, found.revision, found.scale) == ("lab-codec", "", 1.0)  # no path, no person's name
    assert not any(p.requires_grad for p in codec.parameters())


def test_the_embedded_codec() -> None:
    codec, found = store.open_codec("embedded")
    assert (found.kind, found.name, found.channels) == ("compact", "latentseg-compact", codec.channels)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    mask = (((y - 30) / 20) ** 2 + ((x - 50) / 30) ** 2 < 1).float()[None, None]
    with torch.inference_mode():
        back = codec.decode_mask(codec.encode_mask(mask)) > 0.5
    assert 2 * (back * mask).sum() / (back.sum() + mask.sum()) > 0.97


# --- what travels with the package ---------------------------------------------------------------------


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_model_loads_and_says_what_it_is(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path))
    model = store.load_model(name)
    card = model.card
    assert card.name == name
    assert card.codec.name == "latentseg-compact"
    assert card.deviations_from_paper  # none of them is GMS as published
    assert card.deviations_from_paper == variant_text(model.method, card.preprocess)
    assert card.method_title.startswith(f"{card.method_name} variant (")
    assert card.sources[0] == ("readings" if card.takes_prompts else "augment")
    assert card.metrics
    assert card.training_data
    assert card.licence
    assert card.limits
    side = card.preprocess.size
    with torch.inference_mode():
        (found,) = model.method.sample_many(torch.rand(1, 3, side, side), 1)
    assert found.shape == (1, len(card.classes), side, side)
    assert found.isfinite().all()
