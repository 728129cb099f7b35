"""What a launcher asks for, and what contradicts it; no process is started."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import torch

from napari_latentseg.data.augment import augment, draw_in_vain
from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.errors import BadInput
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.launch import (
    LaunchRequest,
    check_device,
    check_threads,
    read_launch_request,
)
from napari_latentseg.training.processes import ONE_PROCESS, join_processes
from napari_latentseg.utils.batch_share import RowsOfBatch, Share, WholeBatch, when_batch_is_complete
from napari_latentseg.utils.launcher import is_launched, is_main_process, process_count

ACCELERATE = {"ACCELERATE_MIXED_PRECISION": "no"}
TWO = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("ACCELERATE_") or n in TWO or n == "MASTER_ADDR"]:
        monkeypatch.delenv(name)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> object:
    def set_all(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def test_outside_of_a_launcher_there_is_one_process() -> None:
    assert join_processes() is ONE_PROCESS
    assert (is_launched(), is_main_process(), process_count()) == (False, True, 1)


def test_a_rank_alone_is_no_launcher(launched) -> None:
    """A scheduler may set it for other reasons."""
    launched({"RANK": "3"})
    assert (is_launched(), is_main_process()) == (False, True)


def test_a_process_knows_its_place(launched) -> None:
    launched(TWO)
    assert (is_launched(), is_main_process(), process_count()) == (True, False, 2)


@pytest.mark.parametrize(
    ("variables", "precision", "accumulate"),
    [
        ({}, None, None),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "bfloat16", None),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, None, 4),
    ],
)
def test_what_the_launcher_asks_for(launched, variables, precision, accumulate) -> None:
    launched(ACCELERATE | variables)
    assert read_launch_request() == LaunchRequest(precision, accumulate)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "fp16"}, "asks for fp16 arithmetic"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed, which is not supported"),
        ({"ACCELERATE_USE_FSDP": "1"}, "FSDP, which is not supported"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "dynamo, which is not supported"),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "0"}, "is '0'; give a number from 1"),
        ({"MASTER_ADDR": "127.0.0.1"}, "one process of those that were asked for"),
    ],
)
def test_what_is_not_supported_is_refused(launched, variables, said) -> None:
    launched(ACCELERATE | variables)
    with pytest.raises(BadInput, match=said):
        join_processes()


def test_the_launcher_changes_the_configuration() -> None:
    config = LaunchRequest("bfloat16", 2).applied_to(TrainingConfig())
    assert (config.precision, config.accumulate) == ("bfloat16", 2)
    assert LaunchRequest().applied_to(config) == config
    with pytest.raises(BadInput, match="is 2, but the launcher asks for 3"):
        LaunchRequest(accumulate=3).applied_to(config)


@pytest.mark.parametrize(
    ("variables", "device", "said"),
    [
        (TWO, "cuda:1", "is cuda:1 for all of 2 processes"),
        (TWO, "mps", "is mps for all of 2 processes"),
        (ACCELERATE | {"ACCELERATE_USE_CPU": "True"}, "cuda", "accelerate is launched with --cpu"),
    ],
)
def test_a_device_that_contradicts_the_launcher_is_refused(launched, variables, device, said) -> None:
    check_device(device)
    launched(variables)
    check_device("auto")
    check_device("cpu")
    with pytest.raises(BadInput, match=said):
        check_device(device)


def test_more_threads_than_processors_are_refused(launched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    check_threads(64)  # of one process; it may know why
    launched(TWO)
    check_threads(None)
    check_threads(3)
    with pytest.raises(BadInput, match="but there are 6 processors; use at most 3"):
        check_threads(4)


@pytest.mark.parametrize("size", [3, 4, 16])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_shares_are_consecutive_and_complete(size: int, count: int) -> None:
    shares = [Share(i, count) for i in range(count)]
    assert [row for share in shares for row in range(size)[share.rows(size)]] == list(range(size))
    assert shares[0].sizes(size) == [len(range(size)[share.rows(size)]) for share in shares]
    assert max(shares[0].sizes(size)) - min(shares[0].sizes(size)) <= 1


DRAWS = {
    "randn": lambda n, g: torch.randn((n, 2, 3), generator=g),
    "rand": lambda n, g: torch.rand(n, generator=g),
    "one for all": lambda n, g: torch.rand((), generator=g).expand(n),
    "randint": lambda n, g: torch.randint(0, 1000, (n,), generator=g),
    "one distribution": lambda n, g: torch.multinomial(
        torch.arange(1.0, 9), n, replacement=True, generator=g
    ),
    "dropout": lambda n, g: torch.nn.functional.dropout(torch.ones(n, 4, 6, 6), 0.5),
    "dropout, channels last": lambda n, g: torch.nn.functional.dropout(
        torch.ones(n, 4, 6, 6).contiguous(memory_format=torch.channels_last), 0.5
    ),
    "dropout of channels": lambda n, g: torch.nn.functional.dropout2d(torch.ones(n, 8, 2, 2), 0.5),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_share_draws_its_rows_of_the_numbers_for_the_whole_batch(name: str) -> None:
    draw = DRAWS[name]
    torch.manual_seed(5)
    whole = draw(5, torch.Generator().manual_seed(5))
    parts = []
    for index in range(2):
        torch.manual_seed(5)
        share = Share(index, 2)
        with WholeBatch(share, 5):
            parts.append(draw(share.sizes(5)[index], torch.Generator().manual_seed(5)))
    assert torch.equal(torch.cat(parts), whole)


def test_a_share_draws_from_its_own_distributions() -> None:
    weights = torch.rand(5, 4)
    whole = torch.multinomial(weights, 1, generator=torch.Generator().manual_seed(5))
    for index in range(2):
        rows = Share(index, 2).rows(5)
        with WholeBatch(Share(index, 2), 5):
            own = torch.multinomial(weights[rows], 1, generator=torch.Generator().manual_seed(5))
        assert torch.equal(own, whole[rows])


@pytest.mark.parametrize("draw", [torch.rand_like, torch.bernoulli, lambda x: x.normal_(), torch.randn])
def test_numbers_that_cannot_be_those_of_the_whole_batch_are_refused(draw) -> None:
    given = torch.ones(2, 3) if draw is not torch.randn else 7
    with WholeBatch(Share(0, 2), 5), pytest.raises(NotImplementedError):
        draw(given)


@pytest.mark.parametrize("name", DRAWS)
def test_a_part_draws_its_rows_of_the_numbers_for_the_whole_batch(name: str) -> None:
    """Of a batch of 7, the second process of two has the rows from 3 on, and computes them in two parts."""
    draw = DRAWS[name]
    torch.manual_seed(5)
    whole = draw(7, torch.Generator().manual_seed(5))
    parts = []
    for part in (slice(0, 3), slice(3, 4)):
        torch.manual_seed(5)
        with WholeBatch(Share(1, 2), 7, part):
            parts.append(draw(part.stop - part.start, torch.Generator().manual_seed(5)))
    assert torch.equal(torch.cat(parts), whole[3:])


def test_a_batch_norm_of_a_part_is_refused() -> None:
    with WholeBatch(Share(), 4, slice(0, 2)), pytest.raises(NotImplementedError):
        torch.nn.BatchNorm2d(3)(torch.rand(2, 3, 4, 4))


def test_outside_of_a_part_a_batch_is_complete_at_once() -> None:
    seen = []
    x = torch.rand(3, requires_grad=True)
    when_batch_is_complete(seen.append, x)
    assert torch.equal(seen[0], x)
    assert not seen[0].requires_grad


def test_what_is_remembered_of_parts_is_that_of_the_batch_in_its_order() -> None:
    seen = []
    with RowsOfBatch(Share(), 5) as rows:
        for part in ([0.0, 1.0], [2.0, 3.0], [4.0]):
            rows.begin_part()
            when_batch_is_complete(lambda a, b: seen.append((a, b)), torch.tensor(part), -torch.tensor(part))
            when_batch_is_complete(seen.append, torch.tensor(part).repeat_interleave(2))
        assert not seen
        rows.complete()
    assert torch.equal(seen[0][0], torch.arange(5.0))
    assert torch.equal(seen[0][1], -torch.arange(5.0))
    assert torch.equal(seen[1], torch.arange(5.0).repeat_interleave(2))


@pytest.mark.parametrize("is_grey", [True, False])
@pytest.mark.parametrize("hue", [0.0, 0.1])
@pytest.mark.parametrize("side", [20, 32, 48])
def test_drawing_in_vain_leaves_the_generator_as_augmenting_does(
    is_grey: bool, hue: float, side: int
) -> None:
    ranges = AugmentationConfig(
        horizontal_flip=0.5, vertical_flip=0.5, quarter_turn=0.5, jitter=0.5, affine=0.5, gamma=0.2, hue=hue,
        saturation=0.1,
    )  # fmt: skip
    drawn, in_vain = np.random.default_rng(0), np.random.default_rng(0)
    image = torch.randint(0, 256, (1 if is_grey else 3, side, side), dtype=torch.uint8).expand(3, -1, -1)
    image = image.clone()
    image[:, : side // 2, : side // 2] = 7  # a part of a coloured image can be grey
    for _ in range(40):
        augment(image.float() / 255, image[:1].float(), ranges, drawn, size=16)
        draw_in_vain(image, ranges, in_vain, size=16)
        assert drawn.bit_generator.state == in_vain.bit_generator.state


def test_one_process_of_a_launcher_meets_no_other(launched) -> None:
    launched({"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_CPU": "True"})
    alone = join_processes()
    assert (alone.count, alone.is_main, alone.device) == (1, True, "cpu")
    assert alone.request.precision == "bfloat16"
    assert alone.sums([1.5]) == [1.5]
    assert alone.map([1, 2], lambda x: None if x == 1 else 4.0) == [None, 4.0]


def test_without_accelerate_several_processes_are_refused(launched, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(TWO)
    monkeypatch.setitem(sys.modules, "accelerate.state", None)
    with pytest.raises(BadInput, match=r"accelerate: is not installed; pip install .*\[scale\]"):
        join_processes()
