"""A batch computed in parts gives what the whole batch gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.helpers.shared_training import AUTOENCODER, COMMON, KINDS, UNET
from torch import Tensor

from napari_latentseg.codecs.loading import load_codec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Batch, Method, Stage
from napari_latentseg.methods.registry import build_method
from napari_latentseg.training import split_batch
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.loop import TrainingStep
from napari_latentseg.training.split_batch import SplitBatch, has_batch_norm
from napari_latentseg.utils.device import Compute

GMS_OF_THREE = {
    "settings": {"width": 16, "levels": ["level1", "out"], "classes": 3, "conditioner": "trained"}
}
MEDSEGLATDIFF_CODE = {
    "autoencoder": AUTOENCODER | {"channels": 3}, "mask_autoencoder": AUTOENCODER | {"channels": 1},
    "denoiser": UNET | {"heads": 1}, "standardise": False, "quantised_condition": False,
    "trained_encoder": True, "mask_loss": "mse", "unshift": False, "clamp": 1, "quantise_samples": False,
    "steps": 2,
}  # fmt: skip
ALL = {
    **{kind: changes for kind, changes in KINDS.items() if kind != "pyramid"},
    "levels": {"settings": {"width": 16, "levels": ["level2", "level1", "out"], "cross_entropy_weight": 0.5}},
    "medseglatdiff code": {"method": "medseglatdiff", "codec": None, "settings": MEDSEGLATDIFF_CODE},
    "classes": GMS_OF_THREE | {"classes": [{"name": n, "color": "#ffb000"} for n in "abc"]},
}
STAGES = [
    (kind, stage)
    for kind, changes in ALL.items()
    for stage in range(2 if changes.get("method") in ("medseglatdiff", "guided") else 1)
]
CPU = Compute("cpu", "float32")


@pytest.fixture
def build(tiny_codec_folder, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Method]:
    """Methods in float64, so that what differs is not the rounding of batches of other sizes."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)

    def built(kind: str) -> Method:
        config = TrainingConfig.model_validate(COMMON | ALL.get(kind, KINDS.get(kind)))
        torch.manual_seed(3)
        codec = None if config.codec is None else load_codec(tiny_codec_folder)
        method = build_method(config.method, codec, config.settings).double()
        return method.to(memory_format=torch.channels_last)

    return built


def batch_of(method: Method, size: int = 5, side: int = 32) -> Batch:
    generator = torch.Generator().manual_seed(8)
    images = torch.rand(size, 3, side, side, generator=generator).double()
    masks = (torch.rand(size, method.class_count, side, side, generator=generator) > 0.7).double()
    annotated = torch.ones(size, method.class_count, dtype=torch.bool)
    if method.class_count > 1:  # classes that some data sets do not annotate: the parts weigh unequally
        annotated[0, 1:] = annotated[3, 0] = False
    return Batch(images.contiguous(memory_format=torch.channels_last), masks, annotated)


def split_of(method: Method, stage: Stage, part_size: int | None = None, accumulate: int = 1) -> SplitBatch:
    method.train()
    weights = list(stage.trainable.parameters())
    step = TrainingStep(torch.optim.SGD(weights), stage.trainable, accumulate=accumulate)
    split = SplitBatch(step, stage.loss, method.loss_row_count, CPU)
    split.part_size = part_size
    return split


def gradient_of(split: SplitBatch) -> Tensor:
    return torch.cat([w.grad.flatten() for w in split.step.weights if w.grad is not None])


def memories_of(method: Method) -> dict[str, Tensor]:
    """What a method remembers of its batches: buffers, code use, losses of timesteps, posterior widths."""
    memories = {name: value.clone().float() for name, value in method.named_buffers()}
    for name in ("image_autoencoder", "mask_autoencoder"):
        outputs = getattr(getattr(method, name, None), "_last_outputs", None)
        if outputs is not None:
            memories[f"{name} outputs"] = outputs
    if statistics := getattr(method, "_posterior_statistics", None):
        memories["posterior"] = torch.stack(statistics)
    return memories


@pytest.mark.parametrize(("kind", "stage_index"), STAGES)
@pytest.mark.parametrize("part_size", [1, 2, 4])
def test_the_gradient_of_the_parts_is_that_of_the_batch(
    build: Callable[[str], Method], kind: str, stage_index: int, part_size: int
) -> None:
    results = []
    for size in (None, part_size):
        method = build(kind)
        split = split_of(method, method.stages()[stage_index], size)
        generator = torch.Generator().manual_seed(4)
        torch.manual_seed(5)
        losses = split.add_gradient(batch_of(method), generator)
        drawn = torch.cat([torch.rand(1), torch.rand(1, generator=generator)])
        results.append((losses, gradient_of(split), memories_of(method), drawn))
    (losses, gradient, memories, drawn), (other_losses, other_gradient, other_memories, other_drawn) = results
    assert other_losses == pytest.approx(losses, rel=1e-5, abs=1e-6)
    assert float(gradient.norm()) > 0
    assert float((gradient - other_gradient).norm()) < 1e-6 * float(gradient.norm())
    assert memories.keys() == other_memories.keys()
    for name, value in memories.items():
        torch.testing.assert_close(other_memories[name], value, atol=1e-5, rtol=1e-4, msg=name)
    assert torch.equal(drawn, other_drawn)  # the next batch draws the same numbers


def test_accumulated_batches_in_parts_add_up(build: Callable[[str], Method]) -> None:
    gradients = []
    for part_size in (None, 2):
        method = build("wave-gms")
        split = split_of(method, method.stages()[0], part_size, accumulate=2)
        generator = torch.Generator().manual_seed(4)
        for _ in range(2):
            split.add_gradient(batch_of(method), generator)
        gradients.append(gradient_of(split))
    assert float((gradients[0] - gradients[1]).norm()) < 1e-6 * float(gradients[0].norm())


def fail_above(loss: Callable[..., Any], largest: int) -> Callable[..., dict[str, Tensor]]:
    """A loss that runs out of memory in its backward pass, after some gradients were added."""

    def limited(batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        terms = loss(batch, generator)
        if len(batch.images) > largest:
            weight = next(iter(terms.values()))
            weight.register_hook(lambda gradient: raise_out_of_memory())
        return terms

    return limited


def raise_out_of_memory() -> Tensor:
    raise torch.OutOfMemoryError


@pytest.mark.parametrize("accumulate", [1, 2])
def test_where_memory_runs_out_the_part_is_halved_and_the_batch_begins_again(
    build: Callable[[str], Method], accumulate: int
) -> None:
    gradients = []
    sizes: list[int] = []
    for largest in (9, 1):
        method = build("medseglatdiff")
        split = split_of(method, method.stages()[0], accumulate=accumulate)
        loss, generator = split.loss, torch.Generator().manual_seed(4)
        split.on_size = lambda batch_size, part_size, total_bytes: sizes.append(part_size)
        split.add_gradient(batch_of(method), generator)
        split.loss = fail_above(loss, largest)
        split.add_gradient(batch_of(method), generator)
        gradients.append((gradient_of(split), memories_of(method)))
    assert sizes == [2, 1]
    assert split.part_size == 1
    assert float((gradients[0][0] - gradients[1][0]).norm()) < 1e-6 * float(gradients[0][0].norm())
    # the attempts that failed are not counted among the codes that were used
    usage = "mask_autoencoder.usage"
    assert float(gradients[0][1][usage].sum()) > 0
    assert torch.equal(gradients[0][1][usage], gradients[1][1][usage])


def test_where_one_image_does_not_fit_the_training_ends_in_one_line(build: Callable[[str], Method]) -> None:
    method = build("gms")
    split = split_of(method, method.stages()[0])
    split.loss = fail_above(split.loss, 0)
    with pytest.raises(BadInput, match="memory: is too small for one image"):
        split.add_gradient(batch_of(method), torch.Generator())
    with pytest.raises(BadInput, match=r"a training step of one image takes .* GB or more"):
        split.measure(batch_of(method), torch.Generator())


def test_a_batch_that_is_given_up_leaves_no_trace(build: Callable[[str], Method]) -> None:
    method = build("wave-gms")
    split = split_of(method, method.stages()[0], 2)
    generator = torch.Generator().manual_seed(4)
    split.add_gradient(batch_of(method), generator)
    before = gradient_of(split), memories_of(method), torch.get_rng_state(), generator.get_state()
    asked = iter([False, True])
    split.should_stop = lambda: next(asked)
    assert split.add_gradient(batch_of(method), generator) is None
    after = gradient_of(split), memories_of(method), torch.get_rng_state(), generator.get_state()
    assert torch.equal(before[0], after[0])
    assert all(torch.equal(value, after[1][name]) for name, value in before[1].items())
    assert torch.equal(before[2], after[2])
    assert torch.equal(before[3], after[3])


def test_batch_norms_get_the_whole_batch(
    build: Callable[[str], Method], monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = []
    for part_size in (None, 1):
        method = build("pyramid")
        split = split_of(method, method.stages()[0], part_size)
        assert has_batch_norm(split.step.parts)
        torch.manual_seed(5)
        split.add_gradient(batch_of(method, side=64), torch.Generator().manual_seed(4))
        gradients.append(gradient_of(split))
    assert torch.equal(*gradients)
    fitting = split.measure(batch_of(method, side=64), torch.Generator())
    room = fitting.standing + 4 * fitting.per_image
    monkeypatch.setattr(split_batch, "free_memory", lambda device: room)
    with pytest.raises(BadInput, match=r"a batch of 5, .* takes about .* lower the batch size"):
        split.choose_part_size(batch_of(method, side=64), torch.Generator(), None)
    split.loss = fail_above(split.loss, 1)
    with pytest.raises(BadInput, match=r"batches of 5, which the batch norms .* lower the batch size"):
        split.add_gradient(batch_of(method, side=64), torch.Generator())


@pytest.mark.parametrize("kind", ["pyramid", "sdseg", "medseglatdiff", "wave-gms"])
def test_measuring_leaves_no_trace(build: Callable[[str], Method], kind: str) -> None:
    method = build(kind)
    split = split_of(method, method.stages()[0])
    generator = torch.Generator().manual_seed(4)
    torch.manual_seed(5)
    before = memories_of(method), torch.get_rng_state(), generator.get_state()
    memory = split.measure(batch_of(method, side=64), generator)
    after = memories_of(method), torch.get_rng_state(), generator.get_state()
    assert memory.per_image > 0
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())
    assert torch.equal(before[1], after[1])
    assert torch.equal(before[2], after[2])
    assert all(weight.grad is None for weight in split.step.weights)
    assert has_batch_norm(split.step.parts) == (kind == "pyramid")


def test_the_processes_of_a_machine_share_its_memory(
    build: Callable[[str], Method], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build("gms")
    split = split_of(method, method.stages()[0])
    monkeypatch.setattr(split_batch, "free_memory", lambda device: 9 * 10**9)
    monkeypatch.setattr(split_batch, "local_process_count", lambda: 3)
    assert split.measure(batch_of(method), torch.Generator()).free == 3 * 10**9
