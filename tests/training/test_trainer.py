"""The training loop, on tiny networks and made images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.loading import load_codec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Batch
from napari_latentseg.training import memory_estimate, progress, split_batch
from napari_latentseg.training.batches import unaugmented_batches
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset, read_dataset
from napari_latentseg.training.events import TrainEpoch, TrainMemory, TrainProgress
from napari_latentseg.training.loop import TrainingStep
from napari_latentseg.training.trainer import Trainer
from napari_latentseg.utils.device import Compute

NONE = {"horizontal_flip": 0, "vertical_flip": 0, "quarter_turn": 0, "jitter": 0, "affine": 0}
TINY = {
    "settings": {"width": 16, "levels": ["out"], "conditioner": "trained", "cross_entropy_weight": 1.0},
    "preprocess": {"mode": "whole", "size": 32},
    "split": {"fraction": 0.3},
    "augment": NONE,
    "epochs": 4,
    "batch_size": 4,
    "warmup_epochs": 0,
    "schedule_by": "step",
    "learning_rate": 2e-3,
}


def config(**changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate(TINY | changes)


@pytest.fixture(scope="module")
def data(write_ellipses: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read_dataset(write_ellipses(tmp_path_factory.mktemp("ellipses") / "data"), config())


@pytest.fixture
def make(data: Dataset, tiny_codec_folder: Path) -> Callable[..., Trainer]:
    def made(stop: Callable[[], bool] = lambda: False, **changes: object) -> Trainer:
        codec: Codec = load_codec(tiny_codec_folder)
        return Trainer(config(**changes), data, codec, Compute("cpu", "float32"), stop)

    return made


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in trainer.method.trainable_modules.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def total(event: TrainEpoch) -> float:
    return sum(event.losses.values())


class Blocks(Codec):
    """Means of blocks of 4 by 4 pixels: what a codec does, without anything to train."""

    kind, channels, downsampling_factor = "compact", 1, 4

    def encode(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images.mean(1, keepdim=True), 4)

    def decode(self, latents: Tensor) -> Tensor:
        return F.interpolate(latents, scale_factor=4.0, mode="bilinear").expand(-1, 3, -1, -1)


def test_it_learns(data: Dataset) -> None:
    """An ellipse on a dark ground is no riddle."""
    settings = {"width": 16, "levels": ["out"], "cross_entropy_weight": 1.0}
    learning = config(epochs=30, learning_rate=5e-3, settings=settings)
    trainer = Trainer(learning, data, Blocks(), Compute("cpu", "float32"))
    events = list(trainer.run())
    assert [e.epoch for e in events] == list(range(1, 31))
    assert total(events[-1]) < 0.5 * total(events[0])
    assert max(e.dsc for e in events) == trainer.best_dsc == events[-1].best
    assert trainer.best_dsc > 0.8
    assert set(events[0].losses) == {"latent", "dice", "cross_entropy"}


def test_the_codec_is_frozen_and_the_rest_is_not(make: Callable[..., Trainer]) -> None:
    trainer = make()
    before = weights(trainer)
    codec = {k: v.clone() for k, v in trainer.codec.state_dict().items()}
    events = list(trainer.run())
    assert total(events[-1]) < total(events[0])
    assert trainer.has_learnt
    assert equal(codec, trainer.codec.state_dict())
    assert not any(torch.equal(v, before[k]) for k, v in weights(trainer).items() if "heads.level" not in k)
    assert not trainer.method.training


def test_the_same_seed_gives_the_same_weights(make: Callable[..., Trainer]) -> None:
    varied = {"augment": {}, "epochs": 3}
    found = []
    for seed in (1, 1, 2):
        trainer = make(seed=seed, **varied)
        events = list(trainer.run())
        found.append((weights(trainer), [e.losses for e in events]))
    assert equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert not equal(found[0][0], found[2][0])


def test_the_best_weights_are_kept(make: Callable[..., Trainer]) -> None:
    trainer = make(epochs=12, learning_rate=2e-2)
    best, snapshot = -1.0, {}
    for event in trainer.run():
        if event.dsc > best:
            best, snapshot = event.dsc, weights(trainer)
    assert trainer.best_dsc == best
    assert equal(weights(trainer), snapshot)
    assert trainer.validation.mean_dice(trainer.method.stages()[-1]) == best


def test_the_last_weights_are_kept_where_that_is_asked(make: Callable[..., Trainer]) -> None:
    trainer = make(epochs=5, select="last", validate_every=2)
    events = []
    for event in trainer.run():
        events.append(event)
        last = weights(trainer)
    assert [e.dsc is None for e in events] == [True, False, True, False, False]
    assert equal(weights(trainer), last)
    assert (trainer.best_epoch, trainer.best_dsc) == (5, events[-1].dsc)


@pytest.mark.parametrize("select", ["best", "last"])
def test_a_stop_ends_after_the_epoch_and_keeps_what_was_learnt(
    make: Callable[..., Trainer], select: str
) -> None:
    asked = iter([False, True])
    trainer = make(stop=lambda: next(asked), epochs=50, validate_every=10, select=select)
    before = weights(trainer)
    events = list(trainer.run())
    assert [e.epoch for e in events] == [1, 2]
    assert events[1].dsc is not None  # looked at, though its turn had not come
    assert trainer.best_epoch == 2
    assert not equal(weights(trainer), before)


def test_closing_keeps_the_best_so_far(make: Callable[..., Trainer]) -> None:
    trainer = make(epochs=50)
    run = trainer.run()
    best, snapshot = -1.0, {}
    for event in run:
        if event.dsc > best:
            best, snapshot = event.dsc, weights(trainer)
        if event.epoch == 3:
            break
    run.close()
    assert equal(weights(trainer), snapshot)
    assert trainer.best_dsc == best


def test_the_average_of_the_weights_is_what_it_says(make: Callable[..., Trainer]) -> None:
    """One step an epoch, so that every state of the weights can be looked at."""
    trainer = make(epochs=4, ema_decay=0.5, select="last", validate_every=4)
    average: dict[str, Tensor] = {}
    for event in trainer.run():
        now = weights(trainer)
        average = now if event.epoch == 1 else {k: 0.5 * v + 0.5 * now[k] for k, v in average.items()}
        if event.epoch == 4:
            assert not equal(now, average)
    for name, value in weights(trainer).items():
        torch.testing.assert_close(value, average[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"epochs": 1, "schedule_by": "epoch"}, {"epochs": 1, "batch_size": 4, "schedule_by": "step"}]
)
def test_a_rate_of_nothing_is_refused_before_the_work(
    make: Callable[..., Trainer], changes: dict[str, object]
) -> None:
    with pytest.raises(BadInput, match=r"epochs: 1 would end before the learning rate rises from zero"):
        make(warmup_epochs=5, **changes)
    make(warmup_epochs=5, **changes | {"epochs": 2})
    make(warmup_epochs=0, **changes)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_training_in_parts_is_that_of_whole_batches(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    """With dropout and noise, which are those of the whole batch.

    In float64: in float32 rounding grows from 1e-5 in the first epoch to 1e-2 in the fourth. Without warping,
    which mixes precisions then, and without validation.
    """
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    # what the process itself takes grows from the first training to the second
    monkeypatch.setattr(split_batch, "used_memory", lambda device: 0)
    trained = []
    for room in (memory_estimate._CPU_PART_BYTES, 1):
        monkeypatch.setattr(memory_estimate, "_CPU_PART_BYTES", room)
        trainer = make(
            batch_size=3, accumulate=accumulate, crops_per_image=2, augment={"affine": 0}, clip_gradient=1.0
        )
        trainer.method.double()
        monkeypatch.setattr(trainer.validation, "mean_dice", lambda stage: 0.0)
        events: list[TrainMemory | TrainProgress] = []
        trainer.on_progress = events.append
        losses = [event.losses for event in trainer.run()]
        trained.append((weights(trainer), losses, next(e for e in events if e.event == "memory")))
    (whole, whole_losses, memory), (parts, part_losses, part_memory) = trained
    assert (memory.part_size, part_memory.part_size, memory.batch_size) == (3, 1, 3)
    assert part_memory.total_bytes < memory.total_bytes
    assert [pytest.approx(losses, rel=1e-8) for losses in whole_losses] == part_losses
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=1e-8, rtol=1e-6)


def test_memory_that_runs_out_on_the_way_halves_the_parts(make: Callable[..., Trainer]) -> None:
    trainer = make(epochs=2)
    events: list[TrainMemory | TrainProgress] = []
    trainer.on_progress = events.append
    loss = trainer.method.loss

    def limited(batch: Batch, generator: torch.Generator | None) -> dict[str, Tensor]:
        if len(batch.images) > 1:
            raise torch.OutOfMemoryError
        return loss(batch, generator)

    trainer.method.loss = limited
    assert [event.epoch for event in trainer.run()] == [1, 2]
    assert [(e.batch_size, e.part_size) for e in events if e.event == "memory"] == [(4, 4), (4, 2), (4, 1)]


def test_progress_is_reported_inside_an_epoch(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "REPORT_INTERVAL_S", 0.0)
    trainer = make(epochs=2, batch_size=2)
    events: list[TrainMemory | TrainProgress] = []
    trainer.on_progress = events.append
    list(trainer.run())
    reports = [event for event in events if event.event == "progress"]
    assert [(e.epoch, e.step, e.steps) for e in reports] == [(1, 0, 2), (1, 1, 2), (2, 0, 2), (2, 1, 2)]
    assert [e.fraction for e in reports] == [0.25, 0.5, 0.75, 1.0]
    assert all(e.images_per_second > 0 for e in reports)


def test_gradients_are_clipped(make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    clip = torch.nn.utils.clip_grad_norm_

    def seen(parameters: list[Tensor], most: float) -> Tensor:
        found = clip(parameters, most)
        norms.append(
            (most, float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()))
        )
        return found

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", seen)
    list(make(epochs=2, clip_gradient=0.01).run())
    assert norms
    assert all(most == 0.01 and after <= 0.0101 for most, after in norms)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            lambda: {"latent": torch.tensor(float("nan"), requires_grad=True)},
            "the loss is no longer a number",
        ),
        (lambda: (_ for _ in ()).throw(torch.OutOfMemoryError()), "memory: a training step of one image"),
    ],
)
def test_what_goes_wrong_is_said_plainly(make: Callable[..., Trainer], fault, message: str) -> None:
    trainer = make()
    trainer.method.loss = lambda *_: fault()
    with pytest.raises(BadInput, match=message):
        list(trainer.run())


def test_nothing_to_learn_from_is_refused(make: Callable[..., Trainer], data: Dataset) -> None:
    trainer = make()
    with pytest.raises(BadInput, match="no image is left to train on"):
        Trainer(trainer.config, Dataset([], data.validation), trainer.codec, trainer.compute)


def test_cached_latents_give_the_same_training(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = {"settings": {"width": 16}, "epochs": 4, "batch_size": 2}
    encoded: list[int] = []
    found = []
    for cached in (False, True):
        trainer = make(cache_latents=cached, **frozen)
        encode = trainer.codec.encode

        def counted(images: Tensor, encode: Callable[[Tensor], Tensor] = encode) -> Tensor:
            encoded[-1] += len(images)
            return encode(images)

        monkeypatch.setattr(trainer.codec, "encode", counted)
        encoded.append(0)
        events = list(trainer.run())
        assert trainer.method.codec is trainer.codec  # and not what remembered for it
        found.append([total(e) for e in events])
    assert found[1] == pytest.approx(found[0], rel=1e-3)
    # 4 images and 4 masks an epoch, and 2 images to judge by, and of each one more to measure the memory;
    # remembered, each of them once
    assert encoded == [2 + 4 * (4 + 4 + 2), 4 + 4 + 2]


def test_a_size_that_the_method_cannot_halve_is_refused_before_the_work(make: Callable[..., Trainer]) -> None:
    unet = {"widths": [16, 16], "norm_groups": 8, "heads": 2}
    with pytest.raises(BadInput, match=r"preprocess\.size: is 40; use a multiple of the method's 16"):
        make(method="sdseg", settings={"denoiser": unet}, preprocess={"mode": "whole", "size": 40})


def test_accumulated_batches_give_the_gradient_of_one_batch(data: Dataset) -> None:
    """Of four images at once, of twice two, and of one by one."""
    settings = {"width": 16, "levels": ["out"], "cross_entropy_weight": 1.0}
    gradients = []
    for size, count in ((4, 1), (2, 2), (1, 4)):
        whole = config(settings=settings, batch_size=size, accumulate=count)
        trainer = Trainer(whole, data, Blocks(), Compute("cpu", "float32"))
        stage = trainer.method.stages()[0]
        weights = list(stage.trainable.parameters())
        step = TrainingStep(torch.optim.SGD(weights), stage.trainable, accumulate=count)
        trainer.method.double()  # so that what differs is not the rounding of batches of other sizes
        for _, batch in zip(range(count), unaugmented_batches(data.train, whole), strict=False):
            step.add_gradient(stage.loss(Batch(batch.images.double(), batch.masks.double()), None))
        gradients.append(torch.cat([w.grad.flatten() for w in weights if w.grad is not None]))
    assert gradients[0].norm() > 0
    for gradient in gradients[1:]:
        assert (gradient - gradients[0]).norm() < 1e-6 * gradients[0].norm() + 1e-9
