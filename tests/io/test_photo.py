from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import skimage
import tifffile
from PIL import Image, ImageFile
from tests.helpers.photos import COLOURS, GREY, KINDS, png, ramp

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.io import photo

NAME = "Doe^Jane"


@pytest.mark.parametrize(("image", "endings", "axes", "expected"), KINDS.values(), ids=KINDS.keys())
def test_kinds(tmp_path, image, endings, axes, expected):
    for ending in endings:
        image.save(tmp_path / f"a{ending}")
        scan = photo.read(tmp_path / f"a{ending}")
        assert (scan.axes, scan.format) == (axes, "photo")
        assert np.array_equal(scan.array, expected)
        assert scan.array.dtype == (np.uint16 if expected.dtype == np.uint16 else np.uint8)
        assert scan.array.dtype.isnative
        assert scan.array.flags.writeable
        assert scan.geometry == Geometry.from_spacing("yx")


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_of_grey_fill_the_range(tmp_path, bits):
    (tmp_path / "a.png").write_bytes(png(bits, 0, b"\0\xff\0\0", 8 // bits, 2))
    assert np.array_equal(photo.read(tmp_path / "a.png").array, [[255] * (8 // bits), [0] * (8 // bits)])


@pytest.mark.parametrize(
    ("colour", "channels"), [(2, 3), (4, 2), (6, 4)], ids=["RGB", "grey and alpha", "RGBA"]
)
def test_colours_of_16_bits_are_not_halved_in_silence(tmp_path, colour, channels):
    (tmp_path / "a.png").write_bytes(png(16, colour, b"\0" + bytes(range(2 * channels)), 1, 1))
    with pytest.raises(BadInput, match="16 bits"):
        photo.read(tmp_path / "a.png")


@pytest.mark.parametrize(("mode", "axes"), [("L", "yx"), ("RGB", "yxc"), ("CMYK", "yxc"), ("YCbCr", "yxc")])
def test_jpeg(tmp_path, mode, axes):
    smooth = np.dstack([np.add.outer(np.arange(48), np.arange(64))] * 3).astype(np.uint8) + 40
    image = Image.fromarray(smooth).convert(mode)
    image.save(tmp_path / "a.jpg", quality=95)
    scan = photo.read(tmp_path / "a.jpg")
    assert (scan.axes, scan.array.dtype) == (axes, np.uint8)
    expected = smooth if axes == "yxc" else smooth[..., 0]
    assert np.abs(scan.array.astype(int) - expected).max() <= 6


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a),
    9: lambda a: a,  # no such mark
}


@pytest.mark.parametrize(("mark", "turned"), TURNS.items(), ids=TURNS.keys())
def test_a_photo_taken_with_the_camera_turned(tmp_path, mark, turned):
    exif = Image.Exif()
    exif[0x0112] = mark
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(photo.read(tmp_path / "a.png").array, turned(COLOURS))


def test_a_broken_mark_is_no_mark(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own
        assert np.array_equal(photo.read(tmp_path / "a.png").array, COLOURS)


def test_what_it_holds_counts_not_its_name(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(photo.read(tmp_path / "a.jpg").array, COLOURS)


# --- broken files ---------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["", "others ask for half"])
def half_files(request, monkeypatch):
    """Pillow's switch for the whole process, which some packages turn on."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", request.param)
    yield
    assert request.param == ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.usefixtures("half_files")
@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp"])
def test_a_file_cut_short_is_refused_or_whole(tmp_path, ending):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 48, 3), np.uint8))
    image.save(tmp_path / f"a{ending}")
    expected = photo.read(tmp_path / f"a{ending}").array
    whole = (tmp_path / f"a{ending}").read_bytes()
    cut = tmp_path / f"b{ending}"
    lengths = [*range(0, len(whole) - 20, len(whole) // 40), *range(len(whole) - 20, len(whole))]
    refused = 0
    for n in lengths:
        cut.write_bytes(whole[:n])
        try:
            found = photo.read(cut).array
        except BadInput:
            refused += 1
        else:
            assert np.array_equal(found, expected), n
    assert refused >= len(lengths) - 4  # the last bytes are an end mark


@pytest.mark.parametrize("offset", [20, 60, 200, -30, -6])
def test_a_damaged_png_is_refused(tmp_path, offset):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20), np.uint8)).save(tmp_path / "a.png")
    raw = bytearray((tmp_path / "a.png").read_bytes())
    raw[offset] ^= 0x10
    (tmp_path / "a.png").write_bytes(raw)
    with pytest.raises(BadInput):
        photo.read(tmp_path / "a.png")


NOT_IMAGES = {
    "text": NAME.encode() * 60,
    "empty": b"",
    "one byte": b"\x89",
    "PNG mark only": b"\x89PNG\r\n\x1a\n",
    "JPEG mark only": b"\xff\xd8\xff\xe0",
    "BMP mark only": b"BM" + bytes(60),
    "PostScript, which Pillow would run": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
}


@pytest.mark.parametrize("content", NOT_IMAGES.values(), ids=NOT_IMAGES.keys())
@pytest.mark.parametrize("ending", photo.SUFFIXES)
def test_what_is_no_image_is_refused_in_one_line(tmp_path, content, ending):
    (tmp_path / f"a{ending}").write_bytes(content)
    with pytest.raises(BadInput) as caught:
        photo.read(tmp_path / f"a{ending}")
    assert caught.value.what == str(tmp_path / f"a{ending}")
    assert caught.value.remedy
    assert "Doe" not in str(caught.value)


def test_other_kinds_are_refused_under_a_name_of_ours(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.png")
    with pytest.raises(BadInput, match="not a PNG, JPEG or BMP"):
        photo.read(tmp_path / "a.png")


@pytest.mark.parametrize("limit", [400, 250], ids=["as a warning", "as an error"])
def test_too_many_pixels_are_refused_as_such(tmp_path, monkeypatch, limit):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadInput, match="more pixels than are safe"):
            photo.read(tmp_path / "a.png")


def test_missing(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        photo.read(tmp_path / "a.png")


# --- writing --------------------------------------------------------------------------------------


def test_results_are_tiff(tmp_path):
    mean = ramp((30, 20), np.float32) / 250
    path = tmp_path / f"a{photo.RESULT_SUFFIX}"
    photo.write(path, mean, "yx", Geometry.from_spacing("yx"), {})
    assert np.array_equal(tifffile.imread(path), mean)
    with pytest.raises(BadInput, match="not a name for a TIFF"):
        photo.write(tmp_path / "a.jpg", mean, "yx", Geometry.from_spacing("yx"), {})


# --- files that others wrote ----------------------------------------------------------------------

EXAMPLES = {
    "camera.png": ("yx", (512, 512)),
    "chelsea.png": ("yxc", (300, 451, 3)),
    "horse.png": ("yxc", (328, 400, 4)),
    "logo.png": ("yxc", (500, 500, 4)),
    "page.png": ("yx", (191, 384)),
    "retina.jpg": ("yxc", (1411, 1411, 3)),
    "rocket.jpg": ("yxc", (427, 640, 3)),
}


@pytest.mark.parametrize(("name", "expected"), EXAMPLES.items(), ids=EXAMPLES.keys())
def test_examples_of_scikit_image(name, expected):
    path = Path(skimage.__file__).parent / "data" / name
    if not path.exists():
        pytest.skip("scikit-image is here without this example file")
    scan = photo.read(path)
    assert (scan.axes, scan.array.shape) == expected
    assert np.array_equal(scan.array, skimage.io.imread(path))


@pytest.mark.parametrize("folder", ["busi", "kvasir_seg", "drive"])
def test_shared_images_and_their_masks(data_dir, folder):
    paths = sorted((data_dir / folder / "images").iterdir())[:3]
    assert paths
    for path in paths:
        scan = photo.read(path)
        mask = photo.read(next((data_dir / folder / "masks").glob(f"{path.stem}.*")))
        assert mask.spatial_shape == scan.spatial_shape
