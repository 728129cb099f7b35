"""What a training step is expected to need, and what is free."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from napari_latentseg.errors import BadInput
from napari_latentseg.training import memory_estimate
from napari_latentseg.training.memory_estimate import (
    StepMemory,
    TensorMemory,
    count_tensors_of_pass,
    standing_bytes,
)
from napari_latentseg.utils import memory as memory_module
from napari_latentseg.utils.memory import free_memory, used_memory

GB = 10**9
CPU = torch.device("cpu")


def test_tensors_are_counted_while_they_exist() -> None:
    with TensorMemory(CPU) as memory:
        a = torch.ones(1000)
        b = a * 2
        b.add_(1)
        view = b[10:]
        assert memory.live_bytes == 8000
        del a
        assert memory.live_bytes == 4000
        del b
        assert memory.live_bytes == 4000  # the view holds it
        del view
    assert (memory.live_bytes, memory.peak_bytes) == (0, 8000)


def test_what_the_backward_pass_needs_is_counted() -> None:
    """Four layers keep their inputs: 8000 values each, beside the loss."""
    layers = nn.Sequential(*(nn.Tanh() for _ in range(4)))
    weight = nn.Parameter(torch.ones(8000))
    peak = count_tensors_of_pass(lambda: layers(weight).sum(), [weight])
    assert 4 * 32_000 <= peak / memory_estimate._KERNEL_FACTOR <= 8 * 32_000
    assert weight.grad is None


def test_a_pass_beyond_the_limit_is_ended() -> None:
    weight = nn.Parameter(torch.ones(100_000))
    with pytest.raises(MemoryError):
        count_tensors_of_pass(lambda: (weight * 2).sum(), [weight], limit=300_000)


@pytest.mark.parametrize(
    ("free", "per_image", "device", "images"),
    [
        (100, 0.1, "cpu", 8),  # all of the batch
        (100, 1.2, "cpu", 2),  # no more than a CPU profits from
        (100, 1.2, "cuda", 8),
        (5, 1.0, "cuda", 3),  # 85 % of what is free, without what stands
        (5, 4.0, "cpu", 1),
        (3, 1.9, "cpu", 1),  # more than the share that is used, less than is free
    ],
)
def test_as_many_images_at_once_as_fit(free: float, per_image: float, device: str, images: int) -> None:
    memory = StepMemory(GB, int(free * GB), GB, int(per_image * GB))
    assert memory.images_at_once(device, 8) == images
    assert memory.total(images) == 2 * GB + images * int(per_image * GB)


def test_an_image_that_does_not_fit_is_refused() -> None:
    memory = StepMemory(GB, 2 * GB, GB, int(1.5 * GB))
    with pytest.raises(BadInput, match=r"one image takes 2\.5 GB or more, and 2\.0 GB are free"):
        memory.images_at_once("cpu", 8)


@pytest.mark.parametrize(
    ("optimizer", "kept", "accumulates", "copies"),
    [(False, False, False, 4), (True, False, False, 2), (True, True, False, 1), (False, False, True, 5)],
)
def test_what_stands_beside_the_images(optimizer: bool, kept: bool, accumulates: bool, copies: int) -> None:
    weights = [nn.Parameter(torch.ones(10, 10)), nn.Parameter(torch.ones(5))]
    found = standing_bytes(
        weights, has_optimizer_state=optimizer, has_kept_weights=kept, accumulates=accumulates
    )
    assert found == copies * 420


def test_the_memory_of_this_process_is_known() -> None:
    assert 10**7 < used_memory() < 10**12
    assert 0 < free_memory() < 10**14


VERSION_2 = ("0::/job/step", "", ("memory.max", "memory.current", "inactive_file"))
VERSION_1 = (
    "4:cpu,memory:/job/step", "memory",
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)  # fmt: skip


@pytest.mark.parametrize(("line", "root", "names"), [VERSION_2, VERSION_1], ids=["version 2", "version 1"])
@pytest.mark.parametrize("limited", ["job", "job/step", "."])
def test_the_limit_of_a_control_group_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    root: str,
    names: tuple[str, ...],
    limited: str,
) -> None:
    """Of 1000 bytes 700 are used, 200 of them as a cache of files."""
    own = tmp_path / "self"
    own.write_text(f"3:cpuset:/\n{line}\n")
    for path in (".", "job", "job/step"):
        group = tmp_path / "cgroup" / root / path
        group.mkdir(parents=True, exist_ok=True)
        (group / names[0]).write_text("1000\n" if path == limited else "max\n")
        (group / names[1]).write_text("700\n")
        (group / "memory.stat").write_text(f"anon 500\n{names[2]} 200\n")
    monkeypatch.setattr(memory_module, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(memory_module, "_PROCESS_CGROUP", own)
    assert free_memory() == 500


def test_without_control_groups_the_machine_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "_PROCESS_CGROUP", tmp_path / "none")
    assert free_memory() > 1000
