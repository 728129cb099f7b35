"""The codecs that are kept in the user's folder by the hash of their weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tests.helpers.autoencoders import write_tiny

from napari_latentseg.codecs import store
from napari_latentseg.codecs.loading import build_codec, load_codec, weights_hash
from napari_latentseg.codecs.origin import commit_of, display_name
from napari_latentseg.errors import BadInput


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two autoencoders with other weights, in two folders of one name."""
    root = tmp_path_factory.mktemp("made")
    return write_tiny(root / "one" / "vae", 1), write_tiny(root / "two" / "vae", 2)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def taesd(made: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the first, to break."""
    return Path(shutil.copytree(made[0], tmp_path / "given" / "taesd"))


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every codec counts as large."""
    monkeypatch.setattr(store, "_LARGE_BYTES", 0)


def no_link(*_: object, **__: object) -> None:
    raise OSError(18, "Invalid cross-device link")


def kept_files(home: Path) -> set[str]:
    return {path.name for path in (home / "codecs").iterdir()}


def test_a_small_codec_is_copied_and_survives_its_folder(home: Path, taesd: Path) -> None:
    kept = store.add_codec(taesd)
    assert (kept.name, kept.kind, kept.channels, kept.storage) == ("taesd", "tiny", 4, "copy")
    assert kept.sha256 == weights_hash(taesd)
    assert kept.path == home / "codecs" / kept.sha256
    assert kept.size_bytes == (taesd / "diffusion_pytorch_model.safetensors").stat().st_size
    shutil.rmtree(taesd)
    assert store.find_codec(kept.sha256) == kept.path
    assert load_codec(kept.path).kind == "tiny"
    assert store.list_codecs() == [kept]
    assert "a copy, 0." in kept.describe()
    assert {p.name for p in kept.path.iterdir()} == {
        "config.json", "diffusion_pytorch_model.safetensors", "kept.json",
    }  # fmt: skip


def test_two_folders_of_one_name_are_two_codecs(home: Path, made: tuple[Path, Path]) -> None:
    first, second = (store.add_codec(folder) for folder in made)
    assert [first.name, second.name] == ["one", "two"]  # `vae` would name neither
    named = [store.add_codec(folder, "mine") for folder in made]
    assert [kept.name for kept in named] == ["mine", "mine"]
    assert {kept.sha256 for kept in named} == {first.sha256, second.sha256}
    with pytest.raises(BadInput, match=f"2 kept codecs are called 'mine'.*{first.sha256[:12]}"):
        store.get_codec("mine")
    assert store.get_codec(first.sha256[:8]) == named[0]


def test_a_codec_is_kept_once(home: Path, taesd: Path) -> None:
    first = store.add_codec(taesd)
    written = (first.path / "kept.json").stat().st_mtime_ns
    assert store.add_codec(taesd) == first
    assert (first.path / "kept.json").stat().st_mtime_ns == written
    assert store.keep_codec(taesd, _spec(taesd))[1] is False


def _spec(folder: Path, **changes: object) -> store.CodecSpec:
    fields = {"kind": "tiny", "name": "taesd", "channels": 4, "scale": 1.0, "sha256": weights_hash(folder)}
    return store.CodecSpec(**(fields | changes))


def test_a_large_codec_is_a_hard_link_that_takes_no_space(home: Path, taesd: Path, all_large: None) -> None:
    kept = store.add_codec(taesd)
    assert kept.storage == "hard link"
    name = "diffusion_pytorch_model.safetensors"
    assert (kept.path / name).samefile(taesd / name)
    assert not (kept.path / "config.json").samefile(taesd / "config.json")
    shutil.rmtree(taesd)
    assert load_codec(kept.path).kind == "tiny"


def test_where_no_link_is_possible_it_is_copied(
    home: Path, taesd: Path, all_large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.os, "link", no_link)
    assert store.add_codec(taesd).storage == "copy"


@pytest.mark.parametrize("when", ["seen before", "while it is copied"])
def test_where_the_disk_is_full_a_pointer_is_kept(
    home: Path, taesd: Path, all_large: None, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(store.os, "link", no_link)
    copy = shutil.copyfile

    def full(source: Path, target: Path) -> Path:
        copy(source, target)
        raise OSError(28, "No space left on device")

    if when == "seen before":
        usage = shutil.disk_usage(taesd)._replace(free=10)
        monkeypatch.setattr(store.shutil, "disk_usage", lambda folder: usage)
    else:
        monkeypatch.setattr(store.shutil, "copyfile", full)
    kept = store.add_codec(taesd)
    assert (kept.storage, kept.path) == ("pointer", taesd)
    assert f"leave it in {taesd}" in kept.describe()
    assert [p.name for p in kept.folder.iterdir()] == ["kept.json"]
    monkeypatch.undo()
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(home))
    assert store.add_codec(taesd).storage == "copy"  # once there is room


def test_a_full_disk_is_one_line_and_leaves_nothing(
    home: Path, taesd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.shutil, "copyfile", full)
    with pytest.raises(BadInput, match=r"the codec cannot be kept \(No space left on device\); free disk"):
        store.add_codec(taesd)
    assert kept_files(home) == set()
    assert store.list_codecs() == []


def test_a_pointer_that_was_asked_for(home: Path, taesd: Path) -> None:
    kept = store.add_codec(taesd, pointer=True)
    assert (kept.storage, store.find_codec(kept.sha256)) == ("pointer", taesd)
    taesd.rename(taesd.with_name("moved"))
    assert store.find_codec(kept.sha256) is None
    assert [codec.is_present for codec in store.list_codecs()] == [False]
    again = store.add_codec(taesd.with_name("moved"))
    assert (again.storage, again.is_present) == ("copy", True)


def test_a_codec_that_was_changed_since_is_kept_anew(home: Path, taesd: Path) -> None:
    kept = store.add_codec(taesd)
    (kept.path / "diffusion_pytorch_model.safetensors").write_bytes(b"other")
    assert store.add_codec(taesd) == kept
    assert weights_hash(kept.path) == kept.sha256


def test_the_same_weights_with_another_scale_are_refused(home: Path, taesd: Path) -> None:
    kept = store.add_codec(taesd)
    config = json.loads((taesd / "config.json").read_text())
    (taesd / "config.json").write_text(json.dumps(config | {"scaling_factor": 0.5}))
    with pytest.raises(BadInput, match=f"its scale is 0.5, not 1.0.*codecs remove {kept.sha256[:12]}"):
        store.add_codec(taesd)
    assert store.list_codecs() == [kept]


def test_another_codec_than_the_one_that_is_needed(home: Path, made: tuple[Path, Path]) -> None:
    needed, given = map(weights_hash, made)
    with pytest.raises(BadInput, match=rf"another codec \(SHA-256 {given[:12]}\).*\({needed[:12]}\)"):
        store.add_codec(made[1], sha256=needed)
    assert store.list_codecs() == []


@pytest.mark.parametrize("missing", ["config.json", "diffusion_pytorch_model.safetensors"])
def test_half_a_folder_is_refused(home: Path, taesd: Path, missing: str) -> None:
    (taesd / missing).unlink()
    with pytest.raises(BadInput) as refused:
        store.add_codec(taesd)
    assert len(str(refused.value).splitlines()) == 1
    assert store.list_codecs() == []


def test_a_file_that_is_cut_short_is_refused(home: Path, taesd: Path) -> None:
    weights = taesd / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BadInput, match="damaged"):
        store.add_codec(taesd)
    assert not (home / "codecs").exists() or kept_files(home) == set()


def test_removing_leaves_what_was_given(home: Path, taesd: Path, made: tuple[Path, Path]) -> None:
    kept, other = store.add_codec(taesd), store.add_codec(made[1], "other")
    with pytest.raises(BadInput, match="no codec 'taes' is kept; did you mean 'taesd'"):
        store.remove_codec("taes")
    assert store.remove_codec("taesd") == kept
    assert store.list_codecs() == [other]
    assert (taesd / "config.json").is_file()
    store.remove_codec(other.sha256)
    with pytest.raises(BadInput, match="no codec 'other' is kept; none is kept"):
        store.remove_codec("other")


@pytest.mark.parametrize("text", ["{", "{}", '{"format": 9}', '{"sha256": "x"}'])
def test_a_record_that_is_damaged_is_no_codec(home: Path, taesd: Path, text: str) -> None:
    kept = store.add_codec(taesd)
    (kept.path / "kept.json").write_text(text)
    assert store.list_codecs() == []
    assert store.find_codec(kept.sha256) is None
    assert store.add_codec(taesd) == kept


@pytest.mark.parametrize("sha256", ["", "..", "../models", "0" * 63, "G" * 64, "/etc"])
def test_a_hash_that_is_none_finds_nothing(home: Path, sha256: str) -> None:
    assert store.find_codec(sha256) is None


def test_a_record_never_leads_out_of_its_folder(home: Path, taesd: Path) -> None:
    kept = store.add_codec(taesd)
    record = json.loads((kept.path / "kept.json").read_text())
    (kept.path / "kept.json").write_text(json.dumps(record | {"file": "../../elsewhere"}))
    assert store.find_codec(kept.sha256) is None


def test_threads_and_processes_that_add_at_once_wait_for_each_other(home: Path, taesd: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom napari_latentseg.codecs.store import add_codec\n"
        "print(add_codec(Path(sys.argv[1])).sha256)"
    )
    command = [sys.executable, "-c", code, str(taesd)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    threads = [threading.Thread(target=store.add_codec, args=(taesd,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [child.communicate(timeout=120)[0].strip() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    (kept,) = store.list_codecs()
    assert told == [kept.sha256] * 2
    assert weights_hash(kept.path) == kept.sha256
    assert kept_files(home) == {kept.sha256}


@pytest.mark.parametrize("layout", ["pair", "pair by a file", "shards", "half precision"])
def test_every_file_of_a_layout_is_kept(home: Path, taesd: Path, layout: str) -> None:
    given = taesd
    state = load_file(taesd / "diffusion_pytorch_model.safetensors")
    if layout.startswith("pair"):
        given = taesd.with_name("published")
        given.mkdir()
        made = build_codec("taef2")
        for half in ("encoder", "decoder"):
            save_file(made.get_submodule(half).state_dict(), given / f"taef2_{half}.safetensors")
        given = given / "taef2_decoder.safetensors" if layout == "pair by a file" else given
    else:
        (taesd / "diffusion_pytorch_model.safetensors").unlink()
    if layout == "shards":
        parts = dict.fromkeys(state, "diffusion_pytorch_model-00001-of-00002.safetensors")
        parts[next(iter(state))] = "diffusion_pytorch_model-00002-of-00002.safetensors"
        for name in set(parts.values()):
            save_file({k: v for k, v in state.items() if parts[k] == name}, taesd / name)
        index = taesd / "diffusion_pytorch_model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": parts}))
    if layout == "half precision":
        half = {name: weight.half() for name, weight in state.items()}
        save_file(half, taesd / "diffusion_pytorch_model.fp16.safetensors")
    before = load_codec(given).state_dict()
    kept = store.add_codec(given)
    shutil.rmtree(taesd.parent)
    after = load_codec(kept.path).state_dict()
    assert weights_hash(kept.path) == kept.sha256
    assert all(weight.equal(after[name]) for name, weight in before.items())


COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    ("path", "name", "commit"),
    [
        ("/data/taesd", "taesd", ""),
        ("/data/sd/vae", "sd", ""),
        ("/data/kl-f8/model.ckpt", "kl-f8", ""),
        ("/data/taesd_decoder.pth", "taesd", ""),
        ("/data/768-v-ema-first-stage-VAE.ckpt", "768-v-ema-first-stage-VAE", ""),
        (f"/hub/models--madebyollin--taesd/snapshots/{COMMIT}", "madebyollin/taesd", COMMIT),
        (f"/hub/models--a--b--c/snapshots/{COMMIT}/vae", "a/b--c", COMMIT),
    ],
)
def test_what_a_codec_is_called(path: str, name: str, commit: str) -> None:
    assert (display_name(Path(path)), commit_of(Path(path))) == (name, commit)
