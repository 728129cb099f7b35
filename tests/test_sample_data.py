"""The images to try the plugin on."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.api import check_fit
from napari_latentseg.errors import BadInput
from napari_latentseg.sample_data import retina, ultrasound_phantom, ultrasound_sweep


def test_the_retina_is_the_photograph_of_scikit_image() -> None:
    sample = retina()
    assert sample.scan.array.shape == (1411, 1411, 3)
    assert sample.scan.array.dtype == np.uint8
    assert sample.scan.axes == "yxc"
    assert sample.scan.geometry.units == ("pixel", "pixel")
    assert sample.model == "retina-vessels"
    assert sample.reference is None
    assert sample.scan.array.std() > 30


def test_a_photograph_that_is_not_there_is_not_downloaded(monkeypatch, tmp_path) -> None:
    import skimage

    monkeypatch.setattr(skimage, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(skimage.data, "retina", lambda: pytest.fail("looked for it on the network"))
    with pytest.raises(BadInput, match=r"retina\.jpg"):
        retina()


def test_the_phantom_repeats_and_goes_by_its_seed() -> None:
    one, other = ultrasound_phantom(3), ultrasound_phantom(3)
    assert np.array_equal(one.scan.array, other.scan.array)
    assert np.array_equal(one.reference, other.reference)
    assert not np.array_equal(one.scan.array, ultrasound_phantom(4).scan.array)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(256, 320), (200, 180)])
def test_the_lesion_is_darker_than_what_is_around_it(seed: int, shape: tuple[int, int]) -> None:
    from scipy import ndimage

    sample = ultrasound_phantom(seed, shape)
    image, lesion = sample.scan.array.astype(float), sample.reference > 0
    assert image.shape == lesion.shape == shape
    around = ndimage.binary_dilation(lesion, iterations=15) & ~ndimage.binary_dilation(lesion, iterations=4)
    assert image[lesion].mean() < 0.75 * image[around].mean()
    assert 0.02 < lesion.mean() < 0.25
    assert ndimage.label(lesion)[1] == 1
    rim = np.concatenate([lesion[0], lesion[-1], lesion[:, 0], lesion[:, -1]])
    assert not rim.any()


def test_the_sample_fits_the_model_that_it_is_for() -> None:
    sample = ultrasound_phantom()
    assert check_fit(sample.scan, sample.model).state == "fits"  # a first run must not begin with a warning


def test_the_phantom_is_in_millimetres() -> None:
    scan = ultrasound_phantom().scan
    assert scan.axes == "yx"
    assert scan.geometry.spacing == pytest.approx((0.15, 0.15))
    assert scan.geometry.units == ("mm", "mm")
    assert scan.modality == "US"


def test_the_lesion_of_the_sweep_grows_and_shrinks_again() -> None:
    sample = ultrasound_sweep()
    assert sample.scan.axes == "zyx"
    assert sample.scan.geometry.spacing == pytest.approx((1.2, 0.2, 0.2))
    sizes = sample.reference.reshape(len(sample.reference), -1).sum(axis=1).astype(int)
    middle = len(sizes) // 2
    assert sizes[0] == sizes[-1] == 0
    assert (np.diff(sizes[:middle]) >= 0).all()
    assert (np.diff(sizes[middle:]) <= 0).all()
    one, other = sample.scan.array[11], sample.scan.array[12]
    assert np.array_equal(sample.reference[11], sample.reference[12])
    assert not np.array_equal(one, other)  # their speckle differs
