"""Cards and codecs that describe networks larger than their weights: refused before anything is built."""

from __future__ import annotations

import json
import threading
import zipfile
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from napari_latentseg.codecs.compact import CompactCodec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.registry import METHODS, build_method
from napari_latentseg.models.archive import export_model, install_archive
from napari_latentseg.models.card import CARD
from napari_latentseg.models.store import load_model, model_folders
from napari_latentseg.utils.outline import check_network_size, unset_weights


def edit_card(folder: Path, **changes: object) -> Path:
    path = folder / CARD
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of weights in every layer that is built in memory."""
    sizes: list[int] = []
    make_parameter = nn.Parameter.__new__

    def watch(cls: type, data: torch.Tensor | None = None, requires_grad: bool = True) -> nn.Parameter:
        if data is not None and not data.is_meta:
            sizes.append(data.numel())
        return make_parameter(cls, data, requires_grad)  # type: ignore[arg-type]

    monkeypatch.setattr(nn.Parameter, "__new__", watch)
    return sizes


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"width": 1600}, "larger than its weights"),
        ({"width": 16_000_000_000}, "does not fit the network"),
        ({"width": 16, "classes": 254, "conditioner": "pyramid"}, None),
    ],
)
def test_settings_are_held_against_the_weights(
    lesions: Path, built: list[int], settings: dict[str, object], why: str | None
) -> None:
    edit_card(lesions, settings=settings)
    with pytest.raises(BadInput, match=why or "classes") as refusal:
        load_model("lesions")
    assert len(str(refusal.value)) < 400
    assert max(built) < 20_000_000


@pytest.mark.parametrize("members", [201, 10**8, 10**10])
def test_a_card_of_more_members_than_any_ensemble_is_refused(lesions: Path, members: int) -> None:
    edit_card(lesions, members=members)
    with pytest.raises(BadInput, match="members: must be 200 or less"):
        load_model("lesions")


@pytest.mark.parametrize(
    "network",
    [{"blocks": [10**9, 1]}, {"widths": [8, 10**6]}, {"widths": [8, 10**12]}, {"widths": []}, {"blocks": {}}],
    ids=str,
)
def test_a_codec_is_held_against_its_weights(
    home: Path, network: dict[str, object], built: list[int]
) -> None:
    path = home / "codecs" / "lab-codec" / "codec.json"
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(content | {"network": content["network"] | network}), "utf-8")
    with pytest.raises(BadInput, match=r"codec\.json, network: (does not fit|is of a network)"):
        load_model("lesions")
    assert not built


def test_layers_of_other_threads_are_not_counted(tmp_path: Path) -> None:
    """A training may build its network while a model is checked."""
    go_on, built = threading.Event(), []

    def build_elsewhere() -> None:
        go_on.wait()
        built.append(nn.Sequential(*(nn.ReLU() for _ in range(11_000))))

    def build() -> nn.Module:
        thread = threading.Thread(target=build_elsewhere)
        thread.start()
        go_on.set()
        thread.join()
        return nn.Linear(2, 2)

    check_network_size("settings", build, tmp_path / "missing", "")
    assert len(built[0]) == 11_000


@pytest.mark.parametrize(
    ("name", "content", "compression", "why"),
    [
        ("x.csv", bytes(80 << 20), zipfile.ZIP_DEFLATED, "unpacks to more than is safe"),
        ("x.csv", bytes(65 << 20), zipfile.ZIP_STORED, "larger than any such file"),
        ("", b"x", zipfile.ZIP_STORED, "which is not a file of a model"),
    ],
)
def test_an_archive_does_not_unpack_to_far_more_than_it_is(
    lesions: Path, tmp_path: Path, name: str, content: bytes, compression: int, why: str
) -> None:
    path = export_model("lesions", tmp_path / "lesions.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(f"lesions/{name}" if name else ""), content, compression)
    with pytest.raises(BadInput, match=why):
        install_archive(path, "other")
    assert "other" not in model_folders()


def test_every_method_can_be_outlined(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    with weights.open("wb") as file:
        file.truncate(4 << 30)  # no bytes on the disk
    codec = CompactCodec(8, (8, 8), (1, 1))
    for name, method in METHODS.items():
        method_codec = codec if method.needs_codec else None
        check_network_size("settings", partial(build_method, name, method_codec, {}), weights, "")


def test_weights_of_a_file_replace_all_that_were_not_drawn(lesions: Path) -> None:
    """Memory that nothing was written to often holds zeros, so it is filled with what no weight may be."""
    state = torch.random.get_rng_state()
    with unset_weights():
        layer = nn.Linear(2, 3)
        seeded = torch.empty(3).normal_(generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert layer.weight.shape == (3, 2)
    assert torch.equal(seeded, torch.randn(3, generator=torch.Generator().manual_seed(1)))
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True)  # fills new memory with NaN
    try:
        first, second = (load_model("lesions").method.state_dict() for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(first[name], second[name]) and first[name].isfinite().all() for name in first)
