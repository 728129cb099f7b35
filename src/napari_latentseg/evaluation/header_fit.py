"""Whether the header of an image is like those of a model's training images; needs no torch and no pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from napari_latentseg.core.fit import Fit, FitState
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.units import MM_PER_UNIT

__all__ = ["Color", "HeaderFacts", "HeaderRange", "header_fit", "modality_codes", "worst_fit"]

Color = Literal["grey", "colour"]

# Spacing and size in mm are properties of the anatomy and of the protocol: half or twice as much is another
# one. Pixels without a spacing say less: photographs of a newer camera have more of them, and are resized.
_MM_FACTOR = 2.0
_FEWER_PIXELS_FACTOR = 2.0
_MORE_PIXELS_FACTOR = 4.0
# A model that saw crops of one scale has learnt how many pixels an object has. Augmentation changes the scale
# by up to a quarter; half as much again is another scale.
_CROP_FACTOR = 1.5
_COLOR_SAMPLES_PER_AXIS = 64  # 4,096 pixels: a coloured image shows its colour in any of them
# Grey images that were saved in colour hold burnt-in coloured marks (up to 1.3 % of the pixels in BUSI), and
# JPEG's rounding. The photographs at hand have colour in 70 % of the pixels or more.
_COLOR_DIFFERENCE = 8  # of 255
_COLOR_FRACTION = 0.1

# The modalities of cards and files, by the DICOM codes that a scan of them may carry.
_CODES_BY_WORD: dict[str, tuple[str, ...]] = {
    "ultrasound": ("US",), "mri": ("MR",), "pet": ("PT",),
    "x-ray": ("CR", "DX", "XA", "RF"), "radiograph": ("CR", "DX"), "mammography": ("MG",),
    "fundus": ("OP",), "ophthalmic": ("OP",), "oct": ("OPT",),
    "colonoscopy": ("ES",), "endoscopy": ("ES",), "gastroscopy": ("ES",),
    "dermoscopy": ("DMS",), "microscopy": ("SM", "GM"), "histology": ("SM", "GM"),
}  # fmt: skip
_DICOM_CODES = frozenset(
    {"US", "IVUS", "MR", "CT", "PT", "NM", "CR", "DX", "XA", "RF", "MG", "OP", "OPT", "ES", "DMS", "SM", "GM"}
)
_STATE_ORDER: tuple[FitState, ...] = ("fits", "unusual", "foreign")


@dataclass(frozen=True)
class HeaderFacts:
    """What the header of an image says, as far as a model depends on it.

    Attributes
    ----------
    dimensions
        2 for an image, 3 for a volume; time does not count.
    color
        ``"grey"`` too for colour channels that are all equal; None for an image that would have to be read
        from its file to tell.
    sides
        Height and width of a slice in pixels.
    spacing
        Between rows and between columns, in mm; None if not known.
    slice_spacing
        Between slices, in mm; None if not known.
    """

    dimensions: int
    color: Color | None
    sides: tuple[int, int]
    spacing: tuple[float, float] | None = None
    slice_spacing: float | None = None

    @classmethod
    def of(cls, scan: Scan) -> HeaderFacts:
        """The facts of a scan.

        Parameters
        ----------
        scan
            Its last two spatial axes are those of the slices, see `napari_latentseg.core.reorient.reorient`.
        """
        geometry = scan.geometry
        mm = [
            step * MM_PER_UNIT[unit] if unit in MM_PER_UNIT else None
            for step, unit in zip(geometry.spacing, geometry.units, strict=True)
        ]
        leading = dict(zip(scan.spatial_axes, zip(scan.spatial_shape, mm, strict=True), strict=True))
        depth, slice_spacing = leading.get("z", (1, None))
        rows, columns = mm[-2:]
        height, width = scan.spatial_shape[-2:]
        return cls(
            dimensions=3 if depth > 1 else 2,
            color=_color_of(scan),
            sides=(height, width),
            spacing=None if rows is None or columns is None else (rows, columns),
            slice_spacing=slice_spacing if depth > 1 else None,
        )

    @property
    def sides_mm(self) -> tuple[float, float] | None:
        """Height and width of a slice in mm; None if not known."""
        if self.spacing is None:
            return None
        return self.sides[0] * self.spacing[0], self.sides[1] * self.spacing[1]


class HeaderRange(FrozenModel):
    """The headers of a model's training images.

    Attributes
    ----------
    dimensions
        2 for images, 3 for volumes; both if there are both.
    colors
        ``"grey"``, ``"colour"`` or both.
    sides
        Shortest and longest side of a slice, in pixels.
    spacing, slice_spacing
        Least and greatest spacing within, and between slices, in mm; None if not known.
    sides_mm
        Shortest and longest side of a slice, in mm; None if not known.
    are_crops
        Whether they were cut out of scans pixel by pixel, so that the number of pixels tells the scale where
        the spacing is not known, as it does not for photographs.
    """

    dimensions: tuple[Literal[2, 3], ...]
    colors: tuple[Color, ...]
    sides: tuple[int, int]
    spacing: tuple[float, float] | None = None
    slice_spacing: tuple[float, float] | None = None
    sides_mm: tuple[float, float] | None = None
    are_crops: bool = False

    @classmethod
    def of(cls, images: Iterable[HeaderFacts], *, are_crops: bool = False) -> HeaderRange:
        """The range over one or more images.

        Parameters
        ----------
        images
            The headers.
        are_crops
            See the attributes.

        Raises
        ------
        ValueError
            If there are no images.
        """
        facts = list(images)
        if not facts:
            raise ValueError("a range needs at least one image")
        sides = [side for image in facts for side in image.sides]
        return cls.model_validate(
            {
                "dimensions": sorted({image.dimensions for image in facts}),
                "colors": sorted({image.color for image in facts if image.color is not None}, reverse=True),
                "sides": (min(sides), max(sides)),
                "spacing": _range(step for image in facts for step in image.spacing or ()),
                "slice_spacing": _range(i.slice_spacing for i in facts if i.slice_spacing is not None),
                "sides_mm": _range(side for image in facts for side in image.sides_mm or ()),
                "are_crops": are_crops,
            }
        )

    def extended(self, other: HeaderRange) -> HeaderRange:
        """The range over the images of both."""
        return HeaderRange.model_validate(
            {
                "dimensions": sorted({*self.dimensions, *other.dimensions}),
                "colors": sorted({*self.colors, *other.colors}, reverse=True),
                "sides": _range((*self.sides, *other.sides)),
                "spacing": _range((*(self.spacing or ()), *(other.spacing or ()))),
                "slice_spacing": _range((*(self.slice_spacing or ()), *(other.slice_spacing or ()))),
                "sides_mm": _range((*(self.sides_mm or ()), *(other.sides_mm or ()))),
                "are_crops": self.are_crops,
            }
        )


def header_fit(scan: Scan, modality: str, headers: HeaderRange | None) -> Fit | None:
    """Whether the header of a scan is like those of the training images.

    Parameters
    ----------
    scan
        Oriented as the model sees it. No file is read: where the array is lazy, grey and colour are not
        compared.
    modality
        Of the model's card.
    headers
        Of the training images; None where the card does not have them: then only another modality is told.

    Returns
    -------
    Fit or None
        None where it is not known.

    Examples
    --------
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> scan = ultrasound_phantom().scan
    >>> header_fit(scan, "MR", None).describe()
    'Not made for this image: the image is US, not MR'
    """
    foreign, unusual = [], []
    codes, trained_codes = modality_codes(scan.modality), modality_codes(modality)
    if codes and trained_codes and not codes & trained_codes:
        foreign.append(f"the image is {scan.modality}, not {modality}")
    if headers is not None:
        facts = HeaderFacts.of(scan)
        if facts.dimensions not in headers.dimensions:
            is_volume = facts.dimensions == 3
            foreign.append(
                f"{'a volume' if is_volume else 'a single image'}, the training images are"
                f" {'single images' if is_volume else 'volumes'}"
            )
        unusual = _unlike(facts, headers)
    elif not foreign:
        return None  # the same modality alone does not make an image fit
    state: FitState = "foreign" if foreign else "unusual" if unusual else "fits"
    return Fit(state=state, reasons=(*foreign, *unusual))


def worst_fit(*fits: Fit | None) -> Fit | None:
    """The verdict of several checks: the worst state, with all reasons; None where nothing was checked."""
    checked = [fit for fit in fits if fit is not None]
    if not checked:
        return None
    ordered = sorted(checked, key=lambda fit: _STATE_ORDER.index(fit.state), reverse=True)
    reasons = dict.fromkeys(reason for fit in ordered for reason in fit.reasons)
    return Fit(state=ordered[0].state, reasons=tuple(reasons))


def modality_codes(text: str) -> frozenset[str]:
    """The DICOM codes that a modality in words may have; empty if it is not known.

    Examples
    --------
    >>> sorted(modality_codes("CT of the chest, cut to a nodule")), sorted(modality_codes("colonoscopy"))
    (['CT'], ['ES'])
    """
    words = re.findall(r"[\w-]+", text)
    codes = {word for word in words if word in _DICOM_CODES}
    for word in words:
        codes.update(_CODES_BY_WORD.get(word.lower(), ()))
    if not codes and text.strip().upper() in _DICOM_CODES:
        codes.add(text.strip().upper())
    return frozenset(codes)


def _unlike(facts: HeaderFacts, headers: HeaderRange) -> list[str]:
    """In which respects an image is unlike the training images, in words."""
    reasons = []
    if facts.color is not None and headers.colors and facts.color not in headers.colors:
        names: dict[Color, str] = {"grey": "grey", "colour": "in colour"}
        trained = " or ".join(names[color] for color in headers.colors)
        reasons.append(f"the image is {names[facts.color]}, the training images are {trained}")
    if facts.spacing and headers.spacing and _is_outside(facts.spacing, headers.spacing, _MM_FACTOR):
        reasons.append(
            f"pixels of {_span(facts.spacing)} mm, the training images have {_span(headers.spacing)} mm"
        )
    if (
        facts.slice_spacing
        and headers.slice_spacing
        and _is_outside((facts.slice_spacing,), headers.slice_spacing, _MM_FACTOR)
    ):
        reasons.append(
            f"slices {facts.slice_spacing:.3g} mm apart, those of the training images"
            f" {_span(headers.slice_spacing)} mm"
        )
    reasons += _unlike_size(facts, headers)
    return reasons


def _unlike_size(facts: HeaderFacts, headers: HeaderRange) -> list[str]:
    """Whether an image is far smaller or larger than the training images: in mm if known, else in pixels."""
    if headers.are_crops and not (facts.sides_mm and headers.sides_mm):
        return _unlike_crops(facts, headers)
    if facts.sides_mm and headers.sides_mm:
        sides: tuple[float, float] = facts.sides_mm
        trained: tuple[float, float] = headers.sides_mm
        unit, more_factor, fewer_factor = "mm", _MM_FACTOR, _MM_FACTOR
    else:
        sides, trained, unit = facts.sides, headers.sides, "pixels"
        more_factor, fewer_factor = _MORE_PIXELS_FACTOR, _FEWER_PIXELS_FACTOR
    if max(sides) < trained[0] / fewer_factor:
        comparison = "far smaller than"
    elif min(sides) > trained[1] * more_factor:
        comparison = "far larger than"
    else:
        return []
    height, width = (f"{side:.3g}" if unit == "mm" else f"{side:,}" for side in sides)
    return [f"{height} x {width} {unit}, {comparison} the training images with sides of {_span(trained)}"]


def _unlike_crops(facts: HeaderFacts, headers: HeaderRange) -> list[str]:
    """Whether an image has another number of pixels than crops of one scale, and so another scale."""
    smallest, largest = headers.sides
    if min(facts.sides) >= smallest / _CROP_FACTOR and max(facts.sides) <= largest * _CROP_FACTOR:
        return []
    height, width = facts.sides
    return [
        f"{height:,} x {width:,} pixels, the training images are crops with sides of {_span(headers.sides)}"
        " pixels, so that the scale is another: cut out a part of that size"
    ]


def _is_outside(values: tuple[float, ...], limits: tuple[float, float], factor: float) -> bool:
    return min(values) < limits[0] / factor or max(values) > limits[1] * factor


def _span(values: tuple[float, ...]) -> str:
    """``"0.7"`` or ``"0.7 to 1.2"``, three digits."""
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def _range(values: Iterable[float]) -> tuple[float, float] | None:
    """Least and greatest value, exact to four digits, so that a card stays legible; None without values."""
    numbers = [value for value in values if math.isfinite(value)]
    return (float(f"{min(numbers):.4g}"), float(f"{max(numbers):.4g}")) if numbers else None


def _color_of(scan: Scan) -> Color | None:
    """Whether the colour channels of a scan differ; None where they would have to be read from a file."""
    if not scan.axes.endswith(CHANNEL) or scan.array.shape[-1] not in (3, 4):
        return "grey"
    if not isinstance(scan.array, np.ndarray):
        return None
    height, width = scan.spatial_shape[-2:]
    row_step, column_step = (max(1, length // _COLOR_SAMPLES_PER_AXIS) for length in (height, width))
    middle_slice: Any = scan.array[tuple(length // 2 for length in scan.spatial_shape[:-2])]
    sampled = middle_slice[::row_step, ::column_step, :3]
    values = np.nan_to_num(sampled.astype(np.float64), posinf=0.0, neginf=0.0)
    top = 255.0 if scan.array.dtype == np.uint8 else float(np.abs(values).max())
    if not top:
        return "grey"
    differences = values.max(axis=-1) - values.min(axis=-1)
    is_colored = (differences > _COLOR_DIFFERENCE / 255 * top).mean() > _COLOR_FRACTION
    return "colour" if is_colored else "grey"
