from __future__ import annotations

import pytest
import torch

from napari_latentseg.networks.compact import CompactDecoder, CompactEncoder


@pytest.fixture(scope="module")
def pair() -> tuple[CompactEncoder, CompactDecoder]:
    torch.manual_seed(0)
    shape = {"channels": 6, "widths": (8, 12), "blocks": (1, 2)}
    return CompactEncoder(**shape).eval(), CompactDecoder(**shape).eval()


@pytest.mark.parametrize("size", [(64, 64), (8, 24)])
def test_eight_pixels_for_one_position_and_back(pair, size: tuple[int, int]) -> None:
    encoder, decoder = pair
    z = encoder(torch.rand(2, 3, *size))
    assert z.shape == (2, 6, size[0] // 8, size[1] // 8)
    assert decoder(z).shape == (2, 3, *size)


@pytest.mark.parametrize("size", [(60, 64), (64, 63)])
def test_other_sizes_are_refused(pair, size: tuple[int, int]) -> None:
    with pytest.raises(RuntimeError, match="divisible"):
        pair[0](torch.zeros(1, 3, *size))


def test_settings_reach_the_layers() -> None:
    encoder = CompactEncoder(5, (8, 16), (1, 3))
    decoder = CompactDecoder(5, (8, 16), (1, 3))
    assert (len(encoder.fine), len(encoder.coarse)) == (len(decoder.fine), len(decoder.coarse)) == (1, 3)
    assert (encoder.fine[0].conv1.in_channels, encoder.coarse[0].conv1.in_channels) == (8, 16)
    assert (encoder.head.out_channels, decoder.stem.in_channels) == (5, 5)


def test_parameters_of_the_embedded_size() -> None:
    with torch.device("meta"):
        encoder, decoder = CompactEncoder(), CompactDecoder()
    fine, coarse = 2 * (64 * 64 * 9 + 64), 2 * (128 * 128 * 9 + 128)
    ends = (48 * 64 * 9 + 64) + (256 * 128 + 128) + (128 * 32 * 9 + 32)
    assert sum(p.numel() for p in encoder.parameters()) == 3 * fine + 4 * coarse + ends == 1_499_744
    assert sum(p.numel() for p in decoder.parameters()) == 1_499_952


def test_a_wild_latent_stays_in_the_range_that_the_decoder_knows(pair) -> None:
    _, decoder = pair
    z = torch.randn(1, 6, 2, 2).sign()
    assert not torch.allclose(decoder(z), decoder(3 * z), atol=1e-3)
    torch.testing.assert_close(decoder(100 * z), decoder(1e6 * z))
    torch.testing.assert_close(decoder(1e6 * z), decoder(z * float("inf")))


def test_moving_an_image_by_eight_pixels_moves_its_latent_by_one(pair) -> None:
    encoder, _ = pair
    image = torch.rand(1, 3, 160, 160)
    still, moved = encoder(image), encoder(image.roll((8, -8), (2, 3)))
    inside = (slice(None), slice(None), slice(8, 12), slice(8, 12))  # the borders see their padding
    torch.testing.assert_close(moved[inside], still.roll((1, -1), (2, 3))[inside])
