"""The noise of a sample depends on the place alone."""

from __future__ import annotations

import pytest
import torch

from napari_latentseg.inference.positional_noise import PositionalNoise


def test_it_is_standard_normal_and_repeats_itself() -> None:
    noise = PositionalNoise(3, 1, [(0, 0)])
    one = noise((1, 4, 64, 64))
    assert one.mean().item() == pytest.approx(0, abs=0.03)
    assert one.std().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(one, noise((1, 4, 64, 64)))


@pytest.mark.parametrize("other", [(3, 2, 0), (4, 1, 0), (3, 1, 1)], ids=["sample", "seed", "step"])
def test_seed_sample_and_step_each_give_another(other: tuple[int, int, int]) -> None:
    seed, sample, step = other
    one = PositionalNoise(3, 1, [(0, 0)])((1, 4, 16, 16))
    two = PositionalNoise(seed, sample, [(0, 0)])((1, 4, 16, 16), step)
    assert abs(torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1]) < 0.2


def test_windows_see_the_same_noise_where_they_overlap() -> None:
    whole = PositionalNoise(0, 0, [(0, 0)])((1, 2, 40, 40))[0]
    for corners in ([(0, 0), (7, 20)], [(7, 20)]):
        found = PositionalNoise(0, 0, corners)((len(corners), 2, 16, 16))
        assert torch.equal(found[-1], whole[:, 7:23, 20:36])


def test_a_window_wider_than_the_period_holds_no_repetition() -> None:
    wide = PositionalNoise(0, 0, [(0, 0)])((1, 1, 8, 600))[0, 0]
    assert not torch.equal(wide[:, :256], wide[:, 256:512])


def test_every_window_must_have_a_place() -> None:
    with pytest.raises(ValueError, match="2 tiles"):
        PositionalNoise(0, 0, [(0, 0)])((2, 1, 4, 4))
