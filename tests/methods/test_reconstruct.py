"""What the autoencoders of the methods that train their own make of images and masks."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.guided import make as make_guided
from tests.helpers.medseglatdiff import tiny_medseglatdiff

from napari_latentseg.methods.base import Method


@pytest.mark.parametrize(
    ("method", "classes", "channels"),
    [(tiny_medseglatdiff(), 1, 3), (tiny_medseglatdiff(image_channels=1), 1, 1), (make_guided(), 2, 1)],
    ids=["medseglatdiff", "medseglatdiff of grey images", "guided"],
)
def test_images_and_masks_come_back_in_their_ranges(method: Method, classes: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 64, 64, generator=generator)
    masks = (torch.rand(2, classes, 64, 64, generator=generator) > 0.5).float()
    method.eval()
    with torch.no_grad():
        decoded = method.reconstruct(images, masks)
    assert decoded.images.shape == decoded.given_images.shape == (2, channels, 64, 64)
    assert decoded.masks.shape == masks.shape
    for values in (decoded.images, decoded.given_images, decoded.masks):
        assert float(values.min()) >= 0
        assert float(values.max()) <= 1
    grey = images if channels == 3 else images.mean(1, keepdim=True)
    assert torch.allclose(decoded.given_images, grey, atol=1e-6)


def test_the_masks_are_those_that_the_first_stage_is_validated_by() -> None:
    for method, classes in ((tiny_medseglatdiff(), 1), (make_guided().eval(), 2)):
        masks = torch.zeros(1, classes, 64, 64)
        masks[..., 16:40, 16:40] = 1
        images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        validate = method.stages()[0].validate
        assert validate is not None
        with torch.no_grad():
            decoded = method.reconstruct(images, masks).masks
            assert torch.allclose(decoded, validate(images, masks), atol=1e-5)
