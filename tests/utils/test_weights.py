from __future__ import annotations

import hashlib
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.weights import (
    file_sha256,
    load_state,
    load_weights,
    read_torch_state,
    save_weights,
)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.PReLU())


def other(net: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, 3), nn.PReLU())


@pytest.mark.parametrize(
    "content", [b"", b"abc", bytes(3 << 20)], ids=["empty", "small", "larger than a block"]
)
def test_hash(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["missing", ""])
def test_what_cannot_be_hashed_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"cannot be read \("):
        file_sha256(tmp_path / name)


@pytest.mark.parametrize("half", [False, True])
def test_round_trip(net: nn.Module, tmp_path: Path, half: bool) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(net.state_dict(), path, half=half)
    assert {v.dtype for v in load_file(path).values()} == {torch.float16 if half else torch.float32}
    again = other(net)
    load_weights(again, path)
    for name, value in again.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, net.state_dict()[name].half().float() if half else net.state_dict()[name])


def test_whole_numbers_stay_what_they_are(tmp_path: Path) -> None:
    net = nn.BatchNorm2d(2)
    net.num_batches_tracked += 100_000  # more than float16 holds
    save_weights(net.state_dict(), tmp_path / "w.safetensors", half=True)
    again = nn.BatchNorm2d(2)
    load_weights(again, tmp_path / "w.safetensors")
    assert again.num_batches_tracked == 100_000


def test_any_memory_layout_can_be_saved(tmp_path: Path) -> None:
    net = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    save_weights(net.state_dict(), tmp_path / "w.safetensors")
    again = nn.Conv2d(2, 3, 3)
    load_weights(again, tmp_path / "w.safetensors")
    assert torch.equal(again.weight, net.weight)


def test_only_what_begins_with_the_prefix_is_read(net: nn.Module, tmp_path: Path) -> None:
    state = {f"mapper.{k}": v for k, v in net.state_dict().items()} | {"codec.x": torch.zeros(1)}
    save_weights(state, tmp_path / "w.safetensors")
    again = other(net)
    load_weights(again, tmp_path / "w.safetensors", prefix="mapper.")
    assert torch.equal(again[0].weight, net[0].weight)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps other permissions")
def test_weights_can_be_read_by_whom_other_files_can(net: nn.Module, tmp_path: Path) -> None:
    save_weights(net.state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "plain").write_text("")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("w.safetensors", "plain")}
    assert len(modes) == 1


State = dict[str, torch.Tensor]

# What is done to a good state, and what the message says.
FAULTS: dict[str, tuple[Callable[[State], object], str]] = {
    "missing": (lambda s: s.pop("0.bias"), r"1 weights missing, 0 unknown \(first: 0\.bias\)"),
    "unknown": (lambda s: s.update(more=torch.zeros(1)), r"0 weights missing, 1 unknown \(first: more\)"),
    "transposed": (
        lambda s: s.update({"0.weight": s["0.weight"].T.contiguous()}),
        r"weight 0\.weight has the shape \(2, 3\), not \(3, 2\)",
    ),
    "would fit by repetition": (
        lambda s: s.update({"0.bias": torch.zeros(1)}),
        r"weight 0\.bias has the shape \(1,\), not \(3,\)",
    ),
    "not a number": (lambda s: s["0.bias"].fill_(float("nan")), r"weight 0\.bias holds values that are no"),
    "infinite": (lambda s: s["1.weight"].fill_(float("-inf")), r"weight 1\.weight holds values that are no"),
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_weights_that_do_not_fit_are_refused_and_nothing_is_changed(
    net: nn.Module, tmp_path: Path, fault: Callable[[State], object], message: str
) -> None:
    state = {k: v.clone() for k, v in other(net).state_dict().items()}
    fault(state)
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    for do in (lambda: load_weights(net, path), lambda: load_state(net, state, path)):
        with pytest.raises(BadInput, match=message) as found:
            do()
        assert found.value.what == str(path)
        assert found.value.remedy
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: p.unlink(), "no such file"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "no such file"),
    "empty": (lambda p: p.write_bytes(b""), "is damaged or not a safetensors file"),
    "header cut off": (lambda p: p.write_bytes(p.read_bytes()[:12]), "is damaged"),
    "cut off": (lambda p: p.write_bytes(p.read_bytes()[:-1]), "is damaged"),
    "too long": (lambda p: p.write_bytes(p.read_bytes() + b"x"), "is damaged"),
    "a header without end": (lambda p: p.write_bytes(b"\xff" * 64), "is damaged"),
    "a pickle": (lambda p: torch.save({"0.bias": torch.zeros(3)}, p), "is damaged"),
}


@pytest.mark.parametrize(("fault", "message"), FILES.values(), ids=FILES.keys())
def test_a_file_that_is_wrong_is_named(
    net: nn.Module, tmp_path: Path, fault: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(net.state_dict(), path)
    fault(path)
    with pytest.raises(BadInput, match=rf"w\.safetensors: {message}") as found:
        load_weights(net, path)
    assert found.value.remedy


@pytest.mark.parametrize(
    ("value", "half", "is_stored"),
    [(1e6, False, True), (1e6, True, False), (6e4, True, True), (float("nan"), False, False)],
)
def test_only_numbers_are_stored(tmp_path: Path, value: float, half: bool, is_stored: bool) -> None:
    path = tmp_path / "w.safetensors"
    state = {"a": torch.tensor([value])}
    if is_stored:
        save_weights(state, path, half=half)
        assert load_file(path)["a"].item() == pytest.approx(value, rel=1e-3)
    else:
        with pytest.raises(BadInput, match="weight a holds values that cannot be stored"):
            save_weights(state, path, half=half)
        assert not path.exists()


def test_a_place_where_weights_cannot_be_written_is_named(net: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere.*cannot be written \(No such file"):
        save_weights(net.state_dict(), tmp_path / "nowhere" / "w.safetensors")


def test_a_state_dict_of_torch(net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(net.state_dict(), path)
    assert read_torch_state(path).keys() == net.state_dict().keys()


PTH: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: None, "no such file"),
    "empty": (lambda p: p.write_bytes(b""), "is not a plain PyTorch state dict"),
    "a whole network": (lambda p: torch.save(nn.Linear(1, 1), p), "is not a plain PyTorch state dict"),
    "a tensor": (lambda p: torch.save(torch.zeros(1), p), "something other than named tensors"),
    "nested": (lambda p: torch.save({"a": {"b": torch.zeros(1)}}, p), "something other than named tensors"),
    "numbered": (lambda p: torch.save({0: torch.zeros(1)}, p), "something other than named tensors"),
}


@pytest.mark.parametrize(("make", "message"), PTH.values(), ids=PTH.keys())
def test_what_is_no_state_dict_of_torch(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path / "w.pth")
    with pytest.raises(BadInput, match=rf"w\.pth: .*{message}") as found:
        read_torch_state(tmp_path / "w.pth")
    assert found.value.remedy


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int32, torch.bool])
def test_weights_that_are_no_floats_are_refused(net: nn.Module, dtype: torch.dtype) -> None:
    state = {name: value.to(dtype) for name, value in net.state_dict().items()}
    with pytest.raises(BadInput, match=r"holds numbers of type (complex64|int32|bool), not floats"):
        load_state(net, state, Path("weights.safetensors"))
