"""The same against a real server: Orthanc with its DICOMweb plugin, on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from pydicom.uid import JPEG2000Lossless, RLELossless
from tests.helpers.dicom import SECRET, positions, series
from tests.helpers.made import classes_of, made
from tests.helpers.orthanc import PASSWORD, USER, missing_part, running_orthanc

from napari_latentseg import find_in_archive, read_scan, store_in_archive, write_result
from napari_latentseg.api import retrieve_from_archive
from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicomweb.address import parse_address
from napari_latentseg.io.dicomweb.query import find_series
from napari_latentseg.io.dicomweb.store import store_files
from napari_latentseg.measure import class_sizes

pytestmark = pytest.mark.skipif(bool(missing_part()), reason=missing_part() or "Orthanc is installed")

# UIDs of each series, in which a compression and a sign differ
STORED = {"mr": "1.2.826.0.1.3680043.9.1", "ct": "1.2.826.0.1.3680043.9.2", "rle": "1.2.826.0.1.3680043.9.3",
          "j2k": "1.2.826.0.1.3680043.9.4"}  # fmt: skip


def write_series(folder: Path) -> Path:
    values = np.random.default_rng(5)
    mr = values.integers(0, 4000, (6, 40, 36), dtype=np.uint16)
    ct = values.integers(-900, 900, (5, 8, 9), dtype=np.int16)
    shown = {"FrameOfReferenceUID": "1.2.826.0.1.4", "PatientName": "Doe^Jane"}
    series(folder / "mr", mr, positions(6), order=[3, 0, 5, 1, 4, 2], SeriesInstanceUID=STORED["mr"], **shown)
    of_ct = {"Modality": "CT", "StudyDate": "20210303", "RescaleSlope": 2, "RescaleIntercept": -24}
    of_ct |= {"SeriesInstanceUID": STORED["ct"], "StudyInstanceUID": "1.2.826.0.1.5"}
    series(folder / "ct", ct, positions(5), **of_ct, **shown)
    for name, syntax in (("rle", RLELossless), ("j2k", JPEG2000Lossless)):
        series(folder / name, mr[:4], positions(4), SeriesInstanceUID=STORED[name], SeriesNumber=8,
               PatientID="another", StudyInstanceUID="1.2.826.0.1.6", **shown)  # fmt: skip
        for path in (folder / name).iterdir():
            dataset = pydicom.dcmread(path)
            dataset.compress(syntax, generate_instance_uid=False)
            dataset.save_as(path)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(tmp_path_factory.mktemp("series"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[str]:
    with (
        running_orthanc(tmp_path_factory.mktemp("orthanc")) as address,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
        patch.setenv("LATENTSEG_ARCHIVE_SERVER", parse_address(address).server)
        patch.setenv("LATENTSEG_ARCHIVE_USER", USER)
        patch.setenv("LATENTSEG_ARCHIVE_PASSWORD", PASSWORD)
        assert store_files(sorted(folder.rglob("*.dcm")), parse_address(address)) == 19
        yield address


def test_a_query_finds_by_patient_date_and_modality(server: str) -> None:
    found = find_series(parse_address(server))
    assert sorted((one.modality, one.images) for one in found) == [("CT", 5), ("MR", 4), ("MR", 4), ("MR", 6)]
    expected = {
        "modality=CT": 1, "date=2021-03-01..2021-03-31": 1, "patient=another": 2, "patient=ano*": 2,
        f"patient={SECRET}&modality=MR": 1, "name=Doe*": 4, "name=doe jane": 4, "patient=nobody": 0,
    }  # fmt: skip
    for query, count in expected.items():
        assert len(find_series(parse_address(f"{server}?{query}"))) == count, query
    ct = next(one for one in found if one.modality == "CT")
    assert (ct.patient_id, ct.patient_name, ct.date) == (SECRET, "Doe Jane", "2021-03-03")


@pytest.mark.parametrize("name", STORED)
def test_a_series_equals_the_folder_bit_for_bit(server: str, folder: Path, name: str) -> None:
    address = next(
        one.address for one in find_series(parse_address(server)) if one.address.endswith(STORED[name])
    )
    retrieved, read = read_scan(address), read_scan(folder / name)
    assert retrieved.content_sha256 == read.content_sha256
    assert retrieved.geometry == read.geometry
    assert retrieved.properties == read.properties
    np.testing.assert_array_equal(np.asarray(retrieved.array), np.asarray(read.array))


def test_a_wrong_password_and_a_series_that_is_not_there(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = f"{server}/studies/1.2.826.0.1.5/series/1.2.826.0.1.99"
    with pytest.raises(BadInput, match=r"no such series|nothing there"):
        read_scan(missing)
    monkeypatch.setenv("LATENTSEG_ARCHIVE_PASSWORD", "wrong")
    with pytest.raises(BadInput, match="does not accept the user or token"):
        find_series(parse_address(server))
    monkeypatch.delenv("LATENTSEG_ARCHIVE_USER")
    with pytest.raises(BadInput, match="asks who you are"):
        find_series(parse_address(server))


@pytest.mark.parametrize("format", ["dicom-seg", "dicom-labelmap"])
def test_a_result_is_stored_and_read_back(server: str, tmp_path: Path, format: str) -> None:
    scan = read_scan(f"{server}?modality=CT")
    samples = np.random.default_rng(2).random((5, 2, *scan.spatial_shape))
    result = replace(
        made(samples, scan.geometry, classes=classes_of("tumour", "liver")),
        format=scan.format, properties=scan.properties, source=scan.source,
    )  # fmt: skip
    files = write_result(result, tmp_path, "a", format=format, table=True)
    written = {path.stem.removeprefix("a_"): path for path in files if path.suffix == ".dcm"}
    assert list(written) == ["mask", "mean", "variance-tumour", "variance-liver", "sizes"]
    assert store_in_archive(written.values(), server) == 5
    folders = [retrieve_from_archive(one.address) for one in find_in_archive(server, patient=SECRET)]
    instances = [pydicom.dcmread(path) for folder in folders for path in folder.iterdir()]
    by_uid = {instance.SOPInstanceUID: instance for instance in instances}
    returned = {}
    for name, path in written.items():
        stored = pydicom.dcmread(path)
        returned[name] = by_uid[stored.SOPInstanceUID]
        assert returned[name].StudyInstanceUID == "1.2.826.0.1.5"
        for keyword in ("PixelData", "FloatPixelData"):
            assert returned[name].get(keyword) == stored.get(keyword)
    mask = highdicom.seg.Segmentation.from_dataset(returned["mask"])
    labels = mask.get_volume(combine_segments=True, segment_numbers=[1, 2]).array
    ours = np.asarray(result.mask)
    assert np.array_equal(labels, ours) or np.array_equal(labels[::-1], ours)
    mean = highdicom.seg.Segmentation.from_dataset(returned["mean"]).get_volume().array
    if not np.array_equal(labels, ours):
        mean = mean[::-1]
    np.testing.assert_allclose(np.moveaxis(mean, -1, 0), result.mean, atol=0.5 / 255 + 1e-6)
    report = highdicom.sr.Comprehensive3DSR.from_dataset(returned["sizes"]).content
    groups = report.get_volumetric_roi_measurement_groups()
    volumes = [group.get_measurements(name=codes.SCT.Volume)[0].value for group in groups]
    assert volumes == pytest.approx([row.value / 1000 for row in class_sizes(result)], abs=1e-6)
