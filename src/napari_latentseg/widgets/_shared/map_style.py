"""How the maps of a result are drawn: colours on fixed scales, and the words of these scales.

Where all samples agree on background every map is transparent, so that the image below stays visible. The
scales never depend on the run, so two results can be compared by eye.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import Colormap, ensure_colormap

from napari_latentseg.core.agreement import agreement_unavailable_reason
from napari_latentseg.core.doubt import MAX_DOUBT
from napari_latentseg.core.segmentation import MAX_VARIANCE, MIN_SAMPLES_FOR_VARIANCE
from napari_latentseg.utils.counts import count_text

if TYPE_CHECKING:
    from napari_latentseg.core.segmentation import Segmentation

__all__ = [
    "MAP_ROLES",
    "agreement_colormap",
    "map_limits",
    "map_meaning",
    "map_scale",
    "map_style",
    "unavailable_reason",
]

MAP_ROLES = ("doubt", "variance", "mean", "agreement")
"""The maps of a result, from the lowest layer to the highest."""

_MAP_OPACITY = 0.6
# Parts of plasma and viridis, which are perceptually even and safe for colour-blind people. Their darkest
# colours cannot be told from the black of an ultrasound or CT image.
_AGREEMENT_RANGE = (0.25, 0.95)
_MEAN_RANGE = (0.3, 1.0)
_STEPS = 64
_OF_SAMPLES = ("agreement", "mean", "variance", "doubt")


def agreement_colormap(samples: int) -> Colormap:
    """One colour for each number of samples that agree, 0 to `samples`; 0 is transparent.

    Its controls lie half-way between the whole numbers, for contrast limits of 0 and `samples`.
    """
    colors = np.zeros((samples + 1, 4))
    colors[1:] = ensure_colormap("plasma").map(np.linspace(*_AGREEMENT_RANGE, samples))
    controls = np.concatenate([[0], (np.arange(samples) + 0.5) / samples, [1]])
    return Colormap(colors, name=f"agreement of {samples}", controls=controls, interpolation="zero")


def _mean_colormap() -> Colormap:
    values = np.linspace(0, 1, _STEPS)
    colors = ensure_colormap("viridis").map(np.interp(values, (0, 1), _MEAN_RANGE))
    colors[:, 3] = np.clip(4 * values, 0, 1)  # opaque from a probability of 0.25
    return Colormap(colors, name="mean probability")


def _variance_colormap() -> Colormap:
    values = np.linspace(0, 1, _STEPS)
    colors = np.ones((_STEPS, 4))
    # magenta, paler at the top; most variances are far below the maximum, so the lower part changes fastest
    colors[:, 1] = np.interp(values, (0, 0.5, 1), (0, 0.1, 0.75))
    colors[:, 2] = np.interp(values, (0, 0.5, 1), (0.8, 0.9, 1))
    colors[:, 3] = np.sqrt(values)
    return Colormap(colors, name="variance")


def _doubt_colormap() -> Colormap:
    values = np.linspace(0, 1, _STEPS)
    colors = np.ones((_STEPS, 4))
    # from blue to a pale cyan: neither the magenta of the variance nor a colour of the mean's lower half
    colors[:, 0] = np.interp(values, (0, 0.5, 1), (0, 0, 0.75))
    colors[:, 1] = np.interp(values, (0, 0.5, 1), (0.45, 0.7, 1))
    colors[:, 3] = np.clip(2 * values, 0, 1)  # opaque from a doubt of 0.25
    return Colormap(colors, name="doubt")


def map_limits(role: str, samples: int) -> tuple[float, float]:
    """The fixed contrast limits of a map."""
    limits = {
        "agreement": (0.0, float(samples)),
        "mean": (0.0, 1.0),
        "variance": (0.0, MAX_VARIANCE),
        "doubt": (0.0, MAX_DOUBT),
        "disagreement": (0.0, MAX_VARIANCE),
    }
    return limits[role]


def map_style(role: str, samples: int) -> dict[str, Any]:
    """Colours, limits and blending of the layer of a map.

    Parameters
    ----------
    role
        One of `MAP_ROLES`, or ``"disagreement"`` of readers, which looks like the variance: both can be
        compared by eye.
    samples
        Number of samples of the result.

    Returns
    -------
    dict
        Keywords of a napari Image layer.
    """
    colormaps = {
        "mean": _mean_colormap,
        "variance": _variance_colormap,
        "doubt": _doubt_colormap,
        "disagreement": _variance_colormap,
    }
    return {
        "colormap": agreement_colormap(samples) if role == "agreement" else colormaps[role](),
        "contrast_limits": map_limits(role, samples),
        "blending": "translucent",
        "opacity": _MAP_OPACITY,
        "interpolation2d": "nearest",
    }


def map_meaning(role: str, samples: int, *, is_weighted: bool = False) -> str:
    """What a map shows, in one sentence for the user; of samples that hints have weighted, that they have."""
    weighted = " Hints weight the samples." if is_weighted and role in _OF_SAMPLES else ""
    return _meaning(role, samples) + weighted


def _meaning(role: str, samples: int) -> str:
    """As `map_meaning`, without hints."""
    return {
        "agreement": f"How many of the {samples} samples assign the voxel to the class, at the threshold.",
        "mean": "Mean probability of the class over the samples.",
        "variance": "How much the samples differ. A small variance does not prove that the mask is correct.",
        "doubt": "Where the mask is most likely wrong: how near the mean probability p is to a half,"
        " min(p, 1 - p)."
        if samples > 1
        else "How near the model's own probability p is to a half, min(p, 1 - p). A single pass gives no"
        " variance; the model card tells how well its probabilities are calibrated.",
        "disagreement": "How much the readers differ: the variance of their masks, p(1 - p), where p is the"
        " share of readers who marked the voxel.",
    }[role]


def unavailable_reason(role: str, segmentation: Segmentation) -> str:
    """Why a result has no map of a role in the viewer, as text for the user."""
    reason = agreement_unavailable_reason(segmentation) if role == "agreement" else ""
    if role == "variance" and segmentation.variance is None:
        count = count_text(segmentation.record.samples, "sample")
        reason = f"A variance needs {MIN_SAMPLES_FOR_VARIANCE} samples or more: this run has {count}"
    return reason or f"This run has no {role}"


def map_scale(role: str, samples: int) -> tuple[str, str]:
    """What the two ends of the scale of a map mean, in words."""
    return {
        "agreement": (f"1 of {samples} samples", f"{samples} of {samples}: all agree"),
        "mean": ("0: background in all samples", "1: certain in all samples"),
        "variance": ("0: all samples agree", f"{MAX_VARIANCE}: half of them say yes"),
        "doubt": ("0: certain", f"{MAX_DOUBT}: inside or outside equally likely"),
        "disagreement": ("0: all readers agree", f"{MAX_VARIANCE}: half of them say yes"),
    }[role]
