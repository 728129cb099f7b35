"""Every file that pydicom ships: read right, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicom import reader

ROOT = Path(pydicom.__file__).parent / "data" / "test_files"
FILES = sorted(p for p in ROOT.rglob("*") if p.is_file() and p.name != "crayons.icc")

# No pictures, and pictures that are damaged or that no decoder here reads.
REFUSED = frozenset({
    "DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-empty.dcm", "DICOMDIR-implicit", "DICOMDIR-nooffset",
    "DICOMDIR-nopatient", "DICOMDIR-reordered", "ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm", "MR_truncated.dcm", "README",
    "README.txt", "UN_sequence.dcm", "badVR.dcm", "empty_charset_LEI.dcm", "liver_1frame.dcm",
    "liver_expb_1frame.dcm", "meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm", "no_meta.dcm",
    "no_meta_group_length.dcm", "priv_SQ.dcm", "reportsi.dcm", "reportsi_with_empty_number_tags.dcm",
    "rtplan.dcm", "rtplan.dump", "rtplan_truncated.dcm", "rtstruct.dcm", "rtstruct.dump", "test-SR.dcm",
    "test1.json", "test_PN.json", "waveform_ecg.dcm", "zipMR.gz",
})  # fmt: skip

# What pydicom itself reads of them, for files that need no more than that: one frame, no scale, grey or RGB.
PLAIN = (
    "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm",
    "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_small_odd.dcm", "SC_rgb_rle.dcm", "SC_rgb_rle_16bit_2frame.dcm", "examples_rgb_color.dcm",
    "image_dfl.dcm", "SC_rgb_jpeg_dcmd.dcm",
)  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_read_or_refused(file):
    scan, line = None, f"{file.name}: "
    try:
        scan = reader.read(file)
        values = np.asarray(scan.array)
    except BadInput as error:
        line = str(error)
    assert line.startswith(f"{file.name}: ")
    assert "\n" not in line
    assert (scan is None) == (file.name in REFUSED or "TINY_ALPHA" in file.parts)
    if scan is not None:
        assert np.isfinite(values).all()
        assert values.shape[: len(scan.spatial_axes)] == scan.spatial_shape


@pytest.mark.parametrize("name", PLAIN)
def test_values_are_those_of_pydicom(name):
    scan = reader.read(ROOT / name)
    expected = pydicom.dcmread(ROOT / name).pixel_array
    assert np.array_equal(np.asarray(scan.array).reshape(expected.shape), expected)


PAIRS = [
    ("SC_rgb_jpeg_dcmd.dcm", "SC_rgb_jpeg.dcm", 1),
    ("SC_rgb_rle.dcm", "SC_rgb_jpeg_dcmtk.dcm", 6),
    ("SC_rgb_rle.dcm", "SC_rgb_jpeg_gdcm.dcm", 0),
    ("SC_rgb_rle.dcm", "SC_rgb_gdcm_KY.dcm", 6),
    ("SC_rgb_rle.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", 6),
    ("SC_rgb_rle.dcm", "SC_ybr_full_422_uncompressed.dcm", 6),
    ("MR_small.dcm", "MR_small_padded.dcm", 0),
    ("rtdose.dcm", "rtdose_rle.dcm", 0),
    ("rtdose.dcm", "rtdose_expb.dcm", 0),
]


@pytest.mark.parametrize(("one", "other", "most"), PAIRS)
def test_the_same_picture_in_two_ways(one, other, most):
    first, second = (np.asarray(reader.read(ROOT / name).array, dtype=np.float64) for name in (one, other))
    assert np.abs(first - second).max() <= most


def test_folders_of_small_studies():
    scan = reader.read(ROOT / "dicomdirtests" / "98892001" / "CT5N")
    assert scan.array.shape == (5, 16, 16)
    assert np.allclose(scan.geometry.matrix[:3, 3], (-1.2375, -143, -72.199997))
    with pytest.raises(BadInput, match="slices"):  # four slices of a larger series, with gaps
        reader.read(ROOT / "dicomdirtests" / "77654033" / "CT2")
    infos = reader.list_series(ROOT / "dicomdirtests" / "77654033")
    assert [(i.modality, i.count) for i in infos] == [("CR", 1), ("CR", 1), ("CT", 4), ("CR", 1)]
