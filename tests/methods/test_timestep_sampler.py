"""Importance sampling of the timesteps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from napari_latentseg.methods.timestep_sampler import SecondMomentResampler


def taught(losses: Tensor, buckets: int | None = None) -> SecondMomentResampler:
    """One that has seen these losses `(T,)` often enough."""
    found = SecondMomentResampler(len(losses), buckets)
    for _ in range(10):
        found.update(torch.arange(len(losses)), losses)
    return found


def test_uniform_until_every_bucket_has_its_history() -> None:
    found = SecondMomentResampler(6, history=3)
    for number in range(3):
        assert torch.allclose(found.probabilities(), torch.full((6,), 1 / 6, dtype=torch.double))
        _, weight = found.sample_timesteps(4)
        assert torch.equal(weight, torch.ones(4))
        found.update(torch.arange(6 if number < 2 else 5), torch.arange(6.0)[: 6 if number < 2 else 5])
    assert torch.allclose(found.probabilities(), torch.full((6,), 1 / 6, dtype=torch.double))
    found.update(torch.tensor([5]), torch.tensor([5.0]))
    assert found.probabilities()[5] > found.probabilities()[1]


def test_the_probability_is_the_root_of_the_second_moment() -> None:
    losses = torch.tensor([1.0, 2.0, 5.0])
    p = taught(losses).probabilities()
    assert torch.allclose(p, 0.999 * losses.double() / 8 + 0.001 / 3)
    assert p.sum().item() == pytest.approx(1)


def test_only_the_last_ten_losses_count() -> None:
    found = taught(torch.tensor([100.0, 1.0]))
    for _ in range(10):
        found.update(torch.tensor([0]), torch.tensor([1.0]))
    assert torch.allclose(found.probabilities(), torch.full((2,), 0.5, dtype=torch.double))


def test_losses_of_nought_leave_it_uniform() -> None:
    assert torch.allclose(taught(torch.zeros(4)).probabilities(), torch.full((4,), 0.25, dtype=torch.double))


def test_the_timesteps_of_a_bucket_share_its_history() -> None:
    losses = torch.tensor([1.0, 1.0, 1.0, 9.0, 9.0, 9.0])
    found = taught(losses, buckets=2)
    p = found.probabilities()
    assert len(found.losses) == 2
    assert p[:3].unique().numel() == p[3:].unique().numel() == 1
    assert p.sum().item() == pytest.approx(1)
    assert (p[5] / p[0]).item() == pytest.approx(9, rel=0.05)


def test_the_weighted_gradient_is_that_of_uniform_timesteps() -> None:
    """Both expectations in full, over all timesteps: sum of p w L' = mean of L'."""
    t = torch.arange(8)
    theta = torch.tensor(0.7, requires_grad=True)

    def losses() -> Tensor:
        return (theta * (t + 1.0) - 2).square()

    found = taught(losses().detach(), buckets=4)
    p = found.probabilities()
    (uniform,) = torch.autograd.grad(losses().mean(), theta)
    weights = (1 / (8 * p)).float()
    (drawn,) = torch.autograd.grad((p.float() * weights * losses()).sum(), theta)
    (unweighted,) = torch.autograd.grad((p.float() * losses()).sum(), theta)
    assert drawn.item() == pytest.approx(uniform.item(), rel=1e-5)
    assert abs(unweighted.item() - uniform.item()) > 0.1 * abs(uniform.item())

    # and by what `draw` gives, within the error of the mean
    generator = torch.Generator().manual_seed(0)
    chosen, weight = found.sample_timesteps(20000, generator)
    slopes = 2 * (theta.detach() * (chosen + 1.0) - 2) * (chosen + 1.0) * weight
    assert abs(slopes.mean() - uniform) < 4 * slopes.std() / 20000**0.5


def test_the_history_is_part_of_the_state() -> None:
    found = taught(torch.tensor([1.0, 3.0]))
    other = SecondMomentResampler(2)
    other.load_state_dict(found.state_dict())
    assert torch.equal(other.probabilities(), found.probabilities())
