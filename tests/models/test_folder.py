"""A model as a folder: written, read, and every way in which it can be wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.loading import load_codec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.registry import build_method
from napari_latentseg.models.card import CARD, read_card
from napari_latentseg.models.folder import Model, load_model_folder, save_model_folder
from napari_latentseg.models.layout import SPLIT_FILE, WEIGHTS_FILE, check_files
from napari_latentseg.models.split import Split, read_split
from napari_latentseg.models.store import codec_for
from napari_latentseg.utils.device import resolve_compute
from napari_latentseg.utils.weights import file_sha256


def load(folder: Path) -> Model:
    return load_model_folder(folder, codec_for)


def edit_card(folder: Path, **changes: object) -> None:
    path = folder / CARD
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def edit_codec(folder: Path, **changes: object) -> None:
    edit_card(folder, codec=read_card(folder).codec.model_dump() | changes)


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """With the hash in the card mended, as someone might who exchanges weights by hand."""
    state = load_file(folder / WEIGHTS_FILE)
    change(state)
    save_file(state, folder / WEIGHTS_FILE)
    edit_card(folder, files=read_card(folder).files | {WEIGHTS_FILE: file_sha256(folder / WEIGHTS_FILE)})


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


# --- as it should be -----------------------------------------------------------------------------------


def test_a_model_that_was_saved_is_the_one_that_is_loaded(home: Path, tmp_path: Path) -> None:
    codec = load_codec(home / "codecs" / "lab-codec")
    torch.manual_seed(11)
    method = build_method("gms", codec, {"conditioner": "trained", "width": 16})
    card = read_card(home / "models" / "lesions").model_copy(
        update={"settings": {"conditioner": "trained", "width": 16}}
    )
    written = save_model_folder(tmp_path / "taught", method, card, {"note.txt": b"by hand"})
    assert written == read_card(tmp_path / "taught")

    model = load(tmp_path / "taught")
    assert (model.card, model.folder) == (written, tmp_path / "taught")
    assert not model.method.training
    state = model.method.trainable_modules.state_dict()
    assert any(name.startswith("conditioner.") for name in state)
    for name, value in method.trainable_modules.state_dict().items():
        assert torch.equal(state[name], value.half().float())


def test_what_lies_in_the_folder(lesions: Path) -> None:
    card = read_card(lesions)
    assert {p.name for p in lesions.iterdir()} == {CARD, WEIGHTS_FILE, SPLIT_FILE}
    assert card.files == {name: file_sha256(lesions / name) for name in (WEIGHTS_FILE, SPLIT_FILE)}
    state = load_file(lesions / WEIGHTS_FILE)
    assert {v.dtype for v in state.values()} == {torch.float16}
    assert not any("codec" in name for name in state)  # only what was trained


def test_the_variant_is_that_of_the_method_whatever_the_card_said(home: Path, tmp_path: Path) -> None:
    method = build_method("gms", load_codec(home / "codecs" / "lab-codec"), {"width": 16})
    card = read_card(home / "models" / "lesions").replace(deviations_from_paper="")
    assert (
        save_model_folder(tmp_path / "new", method, card).deviations_from_paper
        == method.deviations_from_paper
        != ""
    )


def test_other_words_for_the_variant_do_not_shut_a_model_out(lesions: Path) -> None:
    """An earlier version of this package may have said it otherwise."""
    edit_card(lesions, variant="narrower, on the project's own codec")
    assert load(lesions).card.method_title == "GMS variant (narrower, on the project's own codec)"


def test_nothing_is_left_of_a_model_that_could_not_be_saved(home: Path, tmp_path: Path) -> None:
    method = build_method("gms", load_codec(home / "codecs" / "lab-codec"), {"width": 16})
    with torch.no_grad():
        method.mapper.stem.weight[0, 0, 0, 0] = 1e6  # more than float16 holds
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(BadInput, match=r"weight mapper\.stem\.weight holds values that cannot be stored"):
        save_model_folder(out / "new", method, read_card(home / "models" / "lesions"))
    assert not list(out.iterdir())


def test_a_model_is_not_written_over_another(home: Path, lesions: Path) -> None:
    method = build_method("gms", load_codec(home / "codecs" / "lab-codec"), {"width": 16})
    before = read_card(lesions)
    with pytest.raises(BadInput, match="lesions: already exists; choose another name"):
        save_model_folder(lesions, method, before)
    assert load(lesions).card == before


# --- as it should not be -------------------------------------------------------------------------------

# What is done to a folder, what must be named as at fault, and why.
FAULTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a byte flipped in the weights": (lambda f: flip(f / WEIGHTS_FILE), WEIGHTS_FILE, "SHA-256 differs"),
    "a byte flipped in another file": (lambda f: flip(f / SPLIT_FILE), SPLIT_FILE, "SHA-256 differs"),
    "weights cut off": (
        lambda f: (f / WEIGHTS_FILE).write_bytes((f / WEIGHTS_FILE).read_bytes()[:-8]),
        WEIGHTS_FILE,
        "SHA-256 differs",
    ),
    "weights missing": (lambda f: (f / WEIGHTS_FILE).unlink(), WEIGHTS_FILE, "is missing"),
    "another file missing": (lambda f: (f / SPLIT_FILE).unlink(), SPLIT_FILE, "is missing"),
    "a folder for a file": (
        lambda f: ((f / SPLIT_FILE).unlink(), (f / SPLIT_FILE).mkdir()),
        SPLIT_FILE,
        "is missing",
    ),
    "no hash of the weights": (
        lambda f: edit_card(f, files={}),
        f"{CARD}, files",
        f"does not list {WEIGHTS_FILE}",
    ),
    "a file outside": (
        lambda f: edit_card(f, files=read_card(f).files | {"../x": "0"}),
        f"{CARD}, files",
        "'../x' is not a plain file name",
    ),
    "a file outside, on Windows": (
        lambda f: edit_card(f, files=read_card(f).files | {r"C:\x": "0"}),
        f"{CARD}, files",
        "is not a plain file name",
    ),
    "cut off, with its hash": (
        lambda f: (
            (f / WEIGHTS_FILE).write_bytes((f / WEIGHTS_FILE).read_bytes()[:-8]),
            edit_card(f, files={WEIGHTS_FILE: file_sha256(f / WEIGHTS_FILE)}),
        ),
        WEIGHTS_FILE,
        "is damaged",
    ),
    "no card": (lambda f: (f / CARD).unlink(), "lesions", "holds no card.json"),
    "another width": (lambda f: edit_card(f, settings={"width": 32}), WEIGHTS_FILE, "has the shape"),
    "a part that has no weights": (
        lambda f: edit_card(f, settings={"width": 16, "conditioner": "trained"}),
        WEIGHTS_FILE,
        "weights missing, 0 unknown",
    ),
    "a weight missing": (
        lambda f: edit_weights(f, lambda s: s.pop("mapper.stem.bias")),
        WEIGHTS_FILE,
        "1 weights missing, 0 unknown (first: mapper.stem.bias)",
    ),
    "a weight too many": (
        lambda f: edit_weights(f, lambda s: s.update(more=torch.zeros(1))),
        WEIGHTS_FILE,
        "0 weights missing, 1 unknown (first: more)",
    ),
    "a weight that is not a number": (
        lambda f: edit_weights(f, lambda s: s["mapper.stem.bias"].fill_(float("nan"))),
        WEIGHTS_FILE,
        "weight mapper.stem.bias holds values that are not finite",
    ),
    "an unknown method": (lambda f: edit_card(f, method="unet"), f"{CARD}, method", "no method 'unet'"),
    "an unknown setting": (
        lambda f: edit_card(f, settings={"widht": 16}),
        f"{CARD}, gms settings, widht",
        "is not known",
    ),
    "a variant under the paper's name": (
        lambda f: edit_card(f, variant=""),
        f"{CARD}, variant",
        "is '', but its settings make it 'width 16",
    ),
    "more classes than it finds": (
        lambda f: edit_card(f, classes=[{"label": i, "name": str(i), "color": "#000000"} for i in (1, 2)]),
        f"{CARD}, classes",
        "has 2, but the model segments 1",
    ),
    "a codec of another kind": (
        lambda f: edit_codec(f, kind="tiny"),
        f"{CARD}, codec.kind",
        "is tiny, but the codec given has compact",
    ),
    "a codec with other channels": (
        lambda f: edit_codec(f, channels=4),
        f"{CARD}, codec.channels",
        "is 4, but",
    ),
    "a codec with another scale": (lambda f: edit_codec(f, scale=0.5), f"{CARD}, codec.scale", "is 0.5, but"),
    "a codec with other weights": (
        lambda f: edit_codec(f, name="other-codec"),
        "codec",
        "other-codec has other weights on this machine",
    ),
    "a codec that is not there": (
        lambda f: edit_codec(f, name="lost-codec"),
        "codec",
        "lost-codec is not on this machine",
    ),
}


@pytest.mark.parametrize(("fault", "what", "why"), FAULTS.values(), ids=FAULTS.keys())
def test_a_model_that_is_wrong(lesions: Path, fault: Callable[[Path], object], what: str, why: str) -> None:
    fault(lesions)
    with pytest.raises(BadInput) as found:
        load(lesions)
    assert found.value.what.endswith(what)
    assert why in found.value.why
    assert found.value.remedy


def test_a_size_that_the_codec_does_not_divide(lesions: Path) -> None:
    def coarse(spec) -> Codec:
        codec = codec_for(spec)
        codec.downsampling_factor = 48
        return codec

    with pytest.raises(BadInput, match=r"card\.json, preprocess\.size: is 64, but must be a multiple of"):
        load_model_folder(lesions, coarse)


def test_files_that_the_card_does_not_name_do_no_harm(lesions: Path) -> None:
    (lesions / "notes.txt").write_text("mine", "utf-8")
    check_files(lesions, read_card(lesions))


# --- the split -----------------------------------------------------------------------------------------


def test_the_split(lesions: Path, tmp_path: Path) -> None:
    """One without a number is of format 1, whose keys may be those of files."""
    split = read_split(lesions)
    assert split == Split(earlier_train=frozenset("ab"), earlier_validation=frozenset("c"))
    assert split.is_known
    assert not read_split(tmp_path).is_known


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'"text"', b'{"train": 3}', b"\xff", b'{"format": "two"}', b'{"format": 2, "earlier": []}'],
    ids=["empty", "list", "text", "number", "bytes", "no format", "earlier"],
)
def test_a_split_that_is_broken_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SPLIT_FILE).write_bytes(content)
    with pytest.raises(BadInput, match=r"split\.json: is not a list of training"):
        read_split(tmp_path)


def test_threads_that_use_a_model_at_once_move_it_once(lesions: Path) -> None:
    """As the run and the check of the fit in the window; torch crashes where two threads move a weight."""
    model = load(lesions)
    moving, calls = threading.Lock(), []
    move = model.method.to

    def watched(*args: object, **kwargs: object) -> object:
        assert moving.acquire(blocking=False), "two threads move the weights at once"
        try:
            time.sleep(0.05)
            calls.append(args)
            return move(*args, **kwargs)
        finally:
            moving.release()

    model.method.to = watched
    with ThreadPoolExecutor(3) as pool:
        for _ in pool.map(model.to, [resolve_compute("cpu", "float32")] * 3):
            pass
    assert len(calls) == 1
