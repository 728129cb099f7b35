from __future__ import annotations

import math

import pytest
import torch

from napari_latentseg.networks.losses import dice_loss, pixel_cross_entropy

TINY = 1e-5

# Probabilities and masks of one image, one class, and the loss by the formula.
DICE = {
    "right": ([1, 1, 0, 0], [1, 1, 0, 0], 0),
    "wrong": ([0, 0, 1, 1], [1, 1, 0, 0], 1 - TINY / (4 + TINY)),
    "half": ([1, 0, 0, 0], [1, 1, 0, 0], 1 - (2 + TINY) / (3 + TINY)),
    "unsure": ([0.5, 0.5, 0.5, 0.5], [1, 1, 0, 0], 1 - (2 + TINY) / (4 + TINY)),
    "nothing there, nothing found": ([0, 0, 0, 0], [0, 0, 0, 0], 0),
    "nothing there, something found": ([0.5, 0, 0, 0], [0, 0, 0, 0], 1 - TINY / (0.5 + TINY)),
}


@pytest.mark.parametrize(("p", "m", "expected"), DICE.values(), ids=DICE.keys())
def test_dice_loss(p: list[float], m: list[float], expected: float) -> None:
    shape = (1, 1, 2, 2)
    found = dice_loss(
        torch.tensor(p, dtype=torch.float64).reshape(shape),
        torch.tensor(m, dtype=torch.float64).reshape(shape),
    )
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_images_and_classes_count_alike_whatever_their_size() -> None:
    """The mean of the losses, not the loss of everything together."""
    large, small = torch.zeros(8, 8), torch.zeros(8, 8)
    large[:, :] = 1
    small[0, 0] = 1
    masks = torch.stack([large, small])[None]
    found = torch.stack([large, torch.zeros(8, 8)])[None]
    for order in (masks, masks.transpose(0, 1)):  # two classes of an image, two images of a class
        p = found if order is masks else found.transpose(0, 1)
        assert dice_loss(p, order).item() == pytest.approx(0.5, abs=1e-4)


def test_images_of_a_group_count_as_one() -> None:
    """Also where an image lacks the class: what is found there weighs as much as elsewhere."""
    generator = torch.Generator().manual_seed(0)
    p, masks = (
        torch.rand(5, 2, 4, 4, generator=generator),
        torch.rand(5, 2, 4, 4, generator=generator).round(),
    )
    masks[3] = 0
    rows: list[list[int]] = [[0, 3], [1], [2, 4]]
    joined = [
        dice_loss(*(torch.cat(list(x[of_group]), dim=1)[None] for x in (p, masks))) for of_group in rows
    ]
    found = dice_loss(p, masks, groups=torch.tensor([7, 2, 4, 7, 4]))
    assert found.item() == pytest.approx(torch.stack(joined).mean().item(), rel=1e-5)
    p.requires_grad_()
    (slope,) = torch.autograd.grad(dice_loss(p, masks, groups=torch.zeros(5, dtype=torch.long)), p)
    assert (slope[3] > 0.1 * slope.max()).all()


def test_cross_entropy_reads_pixels_as_logits_around_one_half() -> None:
    pixels, mask = torch.tensor([[0.5, 1.0, -0.25]]), torch.tensor([[1.0, 1.0, 1.0]])
    expected = [math.log(2), math.log(1 + math.exp(-4)), math.log(1 + math.exp(6))]
    assert pixel_cross_entropy(pixels, mask).item() == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_cross_entropy_has_a_gradient_where_the_clamp_has_none() -> None:
    gone = torch.full((1, 1, 2, 2), -0.5, requires_grad=True)
    mask = torch.ones(1, 1, 2, 2)
    (slope,) = torch.autograd.grad(pixel_cross_entropy(gone, mask), gone)
    (flat,) = torch.autograd.grad(dice_loss(gone.clamp(0, 1), mask), gone)
    assert (slope < 0).all()
    assert not flat.any()
