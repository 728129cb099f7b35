"""PSNR and SSIM between samples."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.stability import StabilityScores, ssim


def samples() -> np.ndarray:
    """Four samples of one class, `(4, 1, 32, 32)`: the second equals the first, the last holds nothing."""
    rng = np.random.default_rng(0)
    probability = np.full((4, 1, 32, 32), 0.1, dtype=np.float32)
    probability[:, 0, 8:20, 8:20] = 0.9
    probability[2, 0, 8:22, 8:20] = 0.8
    probability[3] = 0.2
    probability[2] += rng.uniform(0, 0.05, (1, 32, 32)).astype(np.float32)
    return probability


def test_each_sample_is_compared_with_the_first() -> None:
    scores = StabilityScores(0.5)
    values = samples()
    scores.add(values)
    report = scores.report()
    assert (report.pairs, report.identical, report.skipped) == (2, 1, 1)
    masks = values > 0.5
    error = np.mean((masks[2, 0].astype(float) - masks[0, 0]) ** 2)
    assert report.mask_psnr == pytest.approx(-10 * np.log10(error))
    error = np.mean((values[2, 0].astype(float) - values[0, 0]) ** 2)
    assert report.probability_psnr == pytest.approx(-10 * np.log10(error))
    assert report.mask_ssim is not None
    assert report.mask_ssim == pytest.approx(
        (1 + ssim(masks[2, 0].astype(float), masks[0, 0].astype(float))) / 2
    )


def test_ssim_is_wang_s() -> None:
    """Against the formula itself, with Gaussian means, at a pixel far from the border."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(2)
    a = rng.random((64, 64))
    b = np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1)

    def smooth(values: np.ndarray) -> np.ndarray:
        return np.asarray(gaussian_filter(values, 1.5, truncate=3.5))

    ma, mb = smooth(a), smooth(b)
    va, vb, cov = smooth(a * a) - ma**2, smooth(b * b) - mb**2, smooth(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    values = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    assert ssim(a, b) == pytest.approx(values[5:-5, 5:-5].mean(), abs=1e-6)


def test_nothing_to_compare_gives_no_figure() -> None:
    scores = StabilityScores(0.5)
    scores.add(np.zeros((3, 1, 16, 16), np.float32))
    report = scores.report()
    assert (report.pairs, report.skipped, report.mask_psnr, report.mask_ssim) == (0, 2, None, None)


@pytest.mark.parametrize(
    ("a", "b", "why"), [((16, 16), (16, 17), "has shape"), ((8, 40), (8, 40), "SSIM needs 11")]
)
def test_images_that_cannot_be_compared_are_refused(a: tuple[int, int], b: tuple[int, int], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        ssim(np.zeros(a), np.zeros(b))
