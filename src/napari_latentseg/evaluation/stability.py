"""How alike the samples of one image are: PSNR and SSIM between them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.metrics import psnr
from napari_latentseg.evaluation.report import StabilityReport

__all__ = ["StabilityScores", "ssim"]

_SSIM_WINDOW = 11  # pixels: a Gaussian with sigma 1.5, as in Wang et al. 2004


def ssim(image: NDArray[np.floating[Any]], reference: NDArray[np.floating[Any]]) -> float:
    """Structural similarity [1]_ of two images in [0, 1].

    Parameters
    ----------
    image, reference
        Floating point, `(H, W)` or `(H, W, C)`, of 11 x 11 pixels or more.

    Returns
    -------
    float
        Up to 1, which two equal images have.

    Raises
    ------
    BadInput
        If the shapes differ, or the images are too small for the window.

    References
    ----------
    .. [1] Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP
       13, 2004: Gaussian window, sigma 1.5; computed by scikit-image.

    Examples
    --------
    >>> image = np.linspace(0, 1, 256).reshape(16, 16)
    >>> ssim(image, image)
    1.0
    """
    from skimage.metrics import structural_similarity

    if image.shape != reference.shape:
        raise BadInput("image", f"has shape {image.shape}, the other {reference.shape}", "make them equal")
    if min(image.shape[:2]) < _SSIM_WINDOW:
        why = f"is {image.shape[0]} x {image.shape[1]} pixels, and SSIM needs {_SSIM_WINDOW}"
        raise BadInput("image", why, "give a larger one")
    value = structural_similarity(
        np.asarray(image, dtype=np.float64),
        np.asarray(reference, dtype=np.float64),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=2 if image.ndim == 3 else None,
    )
    return float(value)


@dataclass
class StabilityScores:
    """PSNR and SSIM of each sample against the first, slice by slice and class by class.

    As in SDSeg's evaluation of stability, pairs of which one mask is empty are left out, and equal masks have
    no PSNR.

    Parameters
    ----------
    threshold
        Probabilities above it are in a mask.

    References
    ----------
    .. [1] Lin et al., "Stable Diffusion Segmentation", MICCAI 2024, Section 3.3 and Table 5. Its LPIPS needs
       the weights of another network, and its MS-SSIM is not computed here.
    """

    threshold: float
    _values: dict[str, list[float]] = field(init=False)
    _skipped: int = field(init=False, default=0)
    _identical: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._values = {
            name: [] for name in ("mask_psnr", "mask_ssim", "probability_psnr", "probability_ssim")
        }

    def add(self, samples: NDArray[np.float32]) -> None:
        """Compare the samples of one slice.

        Parameters
        ----------
        samples
            Probabilities `(n, K, H, W)` in [0, 1].
        """
        first = samples[0]
        for sample in samples[1:]:
            for probability, reference in zip(sample, first, strict=True):
                self._add_pair(probability, reference)

    def _add_pair(self, probability: NDArray[np.float32], reference: NDArray[np.float32]) -> None:
        mask, reference_mask = probability > self.threshold, reference > self.threshold
        if not (mask.any() and reference_mask.any()):
            self._skipped += 1
            return
        self._identical += bool((mask == reference_mask).all())
        pairs: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {
            "mask": (mask.astype(np.float64), reference_mask.astype(np.float64)),
            "probability": (probability, reference),
        }
        for name, (image, other) in pairs.items():
            value = psnr(image, other)
            if math.isfinite(value):
                self._values[f"{name}_psnr"].append(value)
            self._values[f"{name}_ssim"].append(ssim(image, other))

    def report(self) -> StabilityReport:
        """The means over all pairs."""
        means = {name: float(np.mean(values)) if values else None for name, values in self._values.items()}
        return StabilityReport(
            pairs=len(self._values["mask_ssim"]),
            skipped=self._skipped,
            identical=self._identical,
            **means,
        )
