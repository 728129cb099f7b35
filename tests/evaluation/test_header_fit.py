"""Whether the header of an image is like those of the training images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
import pytest

from napari_latentseg.core.fit import Fit
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.evaluation.header_fit import (
    HeaderFacts,
    HeaderRange,
    header_fit,
    modality_codes,
    worst_fit,
)

PHOTOS = HeaderRange(dimensions=(2,), colors=("colour",), sides=(960, 999))
CROPS = HeaderRange(
    dimensions=(3,), colors=("grey",), sides=(30, 54), spacing=(1.0, 1.0), slice_spacing=(1.0, 1.0),
    sides_mm=(30.0, 54.0),
)  # fmt: skip
PIXEL_CROPS = HeaderRange(dimensions=(2,), colors=("grey",), sides=(50, 50), are_crops=True)


def volume(
    shape: tuple[int, ...] = (35, 50, 35), spacing: tuple[float, ...] = (1, 1, 1), **more: Any
) -> Scan:
    return Scan(np.zeros(shape, np.uint8), "zyx", Geometry.from_spacing("zyx", spacing, "mm"), **more)


def photo(height: int = 960, width: int = 999, *, colored: bool = True, **more: Any) -> Scan:
    pixels = np.full((height, width, 3), 90, np.uint8)
    if colored:
        pixels[..., 0] = 200
    return Scan(pixels, "yxc", Geometry.from_spacing("yx"), **more)


FITTING = {
    "a crop of MR": (volume(modality="MR"), "MR", CROPS),
    "an image that does not state its modality": (volume(), "MR", CROPS),
    "a larger crop": (volume((35, 90, 60)), "MR", CROPS),
    "a photograph": (photo(modality="OP"), "fundus photograph", PHOTOS),
    "a photograph of a newer camera": (photo(3000, 3000), "fundus photograph", PHOTOS),
    "a crop of the same scale": (photo(50, 50, colored=False), "CT", PIXEL_CROPS),
    "a crop that is a little larger": (photo(60, 70, colored=False), "CT", PIXEL_CROPS),
}


@pytest.mark.parametrize(("scan", "modality", "headers"), FITTING.values(), ids=FITTING)
def test_what_is_like_the_training_images_fits(scan: Scan, modality: str, headers: HeaderRange) -> None:
    assert header_fit(scan, modality, headers) == Fit(state="fits")


UNLIKE = {
    "another modality": (
        volume(modality="CT"), "MR", CROPS, "foreign", "the image is CT, not MR",
    ),
    "a volume": (volume(), "", PHOTOS, "foreign", "a volume, the training images are single images"),
    "an image": (photo(), "", CROPS, "foreign", "a single image, the training images are volumes"),
    "a volume of one slice": (volume((1, 50, 35)), "", CROPS, "foreign", "a single image"),
    "a crop of half the scale": (
        photo(128, 128, colored=False), "", PIXEL_CROPS, "unusual",
        "128 x 128 pixels, the training images are crops with sides of 50 pixels",
    ),
    "a crop of twice the scale": (
        photo(50, 30, colored=False), "", PIXEL_CROPS, "unusual",
        "50 x 30 pixels, the training images are crops with sides of 50 pixels",
    ),
    "grey": (photo(colored=False), "", PHOTOS, "unusual", "is grey, the training images are in colour"),
    "colour": (
        photo(50, 40), "", CROPS.replace(dimensions=(2,)), "unusual",
        "is in colour, the training images are grey",
    ),
    "fine pixels": (
        volume((35, 200, 200), (1, 0.2, 0.2)), "", CROPS, "unusual",
        "pixels of 0.2 mm, the training images have 1 mm",
    ),
    "pixels of two sizes": (volume(spacing=(1, 3, 1)), "", CROPS, "unusual", "pixels of 1 to 3 mm"),
    "slices far apart": (volume(spacing=(5, 1, 1)), "", CROPS, "unusual", "slices 5 mm apart"),
    "a whole head": (
        volume((160, 240, 240)), "", CROPS, "unusual",
        "240 x 240 mm, far larger than the training images with sides of 30 to 54",
    ),
    "a small crop": (volume((9, 12, 14)), "", CROPS, "unusual", "12 x 14 mm, far smaller than"),
    "a thumbnail": (photo(100, 120), "", PHOTOS, "unusual", "100 x 120 pixels, far smaller than"),
    "a slide": (photo(5000, 4000), "", PHOTOS, "unusual", "5,000 x 4,000 pixels, far larger than"),
}  # fmt: skip


@pytest.mark.parametrize(("scan", "modality", "headers", "state", "reason"), UNLIKE.values(), ids=UNLIKE)
def test_what_differs_is_told_with_its_reason(
    scan: Scan, modality: str, headers: HeaderRange, state: str, reason: str
) -> None:
    fit = header_fit(scan, modality, headers)
    assert fit is not None
    assert fit.state == state
    assert reason in fit.describe()


def test_the_worst_reason_comes_first() -> None:
    fit = header_fit(photo(modality="OP"), "MR", CROPS)
    assert fit is not None
    assert fit.state == "foreign"
    assert [reason.split(",")[0] for reason in fit.reasons] == [
        "the image is OP", "a single image", "the image is in colour", "960 x 999 pixels",
    ]  # fmt: skip


def test_without_training_images_only_the_modality_is_compared() -> None:
    assert header_fit(volume(modality="MR"), "MR", None) is None  # too little to say that it fits
    assert header_fit(volume(modality="CT"), "MR", None).state == "foreign"
    assert header_fit(volume(), "MR", None) is None
    assert header_fit(volume(modality="MR"), "", None) is None


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("US", {"US"}),
        ("us", {"US"}),
        ("CT of the chest, cut to a nodule", {"CT"}),
        ("fundus photograph", {"OP"}),
        ("colonoscopy", {"ES"}),
        ("T1-weighted MRI", {"MR"}),
        ("show us more", set()),
        ("", set()),
    ],
)
def test_a_modality_in_words_has_codes(text: str, codes: set[str]) -> None:
    assert modality_codes(text) == codes


def test_grey_images_saved_in_colour_are_grey() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 300, 1), dtype=np.uint8).repeat(3, axis=2)
    pixels[:30, :50, 0] = 255  # a burnt-in mark in 1.7 % of the image
    scan = Scan(pixels, "yxc", Geometry.from_spacing("yx"))
    assert HeaderFacts.of(scan).color == "grey"
    floats = pixels.astype(np.float32) / 255
    floats[0, 0] = np.nan
    assert HeaderFacts.of(scan.replace(array=floats)).color == "grey"


def test_a_lazy_image_is_not_read() -> None:
    def read(block: object) -> np.ndarray[Any, Any]:
        raise AssertionError("read")

    pixels = da.from_delayed(_raising_delayed(read), (400, 400, 3), np.uint8)
    scan = Scan(pixels, "yxc", Geometry.from_spacing("yx"))
    assert HeaderFacts.of(scan).color is None
    assert header_fit(scan, "", CROPS.replace(dimensions=(2,), sides_mm=None, sides=(300, 400))) == Fit(
        state="fits"
    )


def _raising_delayed(read: Any) -> Any:
    import dask

    return dask.delayed(read)(None)


def test_the_range_of_the_training_images() -> None:
    facts = [HeaderFacts.of(volume()), HeaderFacts.of(volume((30, 60, 40), (1, 0.5, 0.5)))]
    headers = HeaderRange.of(facts)
    assert headers == HeaderRange(
        dimensions=(3,), colors=("grey",), sides=(35, 60), spacing=(0.5, 1.0), slice_spacing=(1.0, 1.0),
        sides_mm=(20.0, 50.0),
    )  # fmt: skip
    assert HeaderRange.of(facts[:1]).extended(HeaderRange.of(facts[1:])) == headers
    assert headers.extended(HeaderRange.of([HeaderFacts.of(photo())])).dimensions == (2, 3)
    assert HeaderRange.of([replace(facts[0], color=None)]).colors == ()
    with pytest.raises(ValueError, match="at least one image"):
        HeaderRange.of([])


def test_several_verdicts_become_the_worst() -> None:
    unusual, foreign = Fit(state="unusual", reasons=("a",)), Fit(state="foreign", reasons=("b", "a"))
    assert worst_fit(Fit(state="fits"), unusual, None, foreign) == Fit(state="foreign", reasons=("b", "a"))
    assert worst_fit(None, Fit(state="fits")) == Fit(state="fits")
    assert worst_fit(None) is None


def test_what_is_added_to_crops_are_crops() -> None:
    others = HeaderRange(dimensions=(2,), colors=("grey",), sides=(40, 60))
    assert PIXEL_CROPS.extended(others).are_crops
    assert PIXEL_CROPS.extended(others).sides == (40, 60)
    # cards of earlier versions say nothing of it
    assert not HeaderRange.model_validate({"dimensions": [2], "colors": ["grey"], "sides": [1, 2]}).are_crops
