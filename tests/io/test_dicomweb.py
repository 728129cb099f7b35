"""Series of an archive: addresses, queries, retrieval into the DICOM reader, storing, and every failure."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from tests.helpers.dicom import NAME, SECRET, STUDY, dataset, positions, save, series
from tests.helpers.dicomweb_server import StubArchive, running

from napari_latentseg import read_scan
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.io._progress import report_progress_to
from napari_latentseg.io.dicomweb import connection
from napari_latentseg.io.dicomweb.address import is_archive_address, parse_address
from napari_latentseg.io.dicomweb.query import find_series
from napari_latentseg.io.dicomweb.retrieve import discard_copy, retrieve_series
from napari_latentseg.io.dicomweb.store import store_files
from napari_latentseg.io.registry import list_series

MR, CT = "1.2.826.0.1.7", "1.2.826.0.1.8"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for name in ("SERVER", "TOKEN", "USER", "PASSWORD"):
        monkeypatch.delenv(f"LATENTSEG_ARCHIVE_{name}", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    values = np.random.default_rng(3)
    mr = values.integers(0, 4000, (6, 12, 10), dtype=np.uint16)
    ct = values.integers(-900, 900, (5, 8, 9), dtype=np.int16)
    series(tmp_path / "mr", mr, positions(6), order=[3, 0, 5, 1, 4, 2], SeriesInstanceUID=MR)
    series(tmp_path / "ct", ct, positions(5), SeriesInstanceUID=CT, Modality="CT", StudyDate="20210303",
           RescaleSlope=1, RescaleIntercept=-24)  # fmt: skip
    return tmp_path


@pytest.fixture
def archive(folder: Path) -> Iterator[StubArchive]:
    with running(StubArchive().add_folder(folder)) as stub:
        yield stub


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("dicomweb://pacs.example.org/dicom-web", "https://pacs.example.org:443/dicom-web"),
        ("dicomweb://pacs:8443/a/b/?patient=7", "https://pacs:8443/a/b"),
        ("dicomweb+http://localhost:8042", "http://localhost:8042"),
    ],
)
def test_an_address_and_the_path_made_of_it_name_the_same_server(text: str, url: str) -> None:
    assert parse_address(text).url == url
    assert parse_address(Path(text)) == parse_address(text)
    assert parse_address(parse_address(text).text) == parse_address(text)


@pytest.mark.parametrize(
    ("asked", "date"),
    [
        ("2026-11-02", "20261102"),
        ("20261102", "20261102"),
        ("2026-11-01..2026-11-30", "20261101-20261130"),
        ("..2026-11-30", "-20261130"),
        ("20261101-", "20261101-"),
        ("", ""),
    ],
)
def test_days_are_written_as_dicom_wants_them(asked: str, date: str) -> None:
    assert parse_address(f"dicomweb://pacs/x?date={asked}&modality=mr").date == date


@pytest.mark.parametrize(
    "text",
    [
        "dicomweb:",
        "dicomweb://",
        "dicomweb://jane:secret@pacs/dicom-web",
        "dicomweb://pacs:port/x",
        "dicomweb://[::1]:8042/x",
        "dicomweb://pacs/x?patients=4711-secret",
        "dicomweb://pacs/x?date=yesterday",
        "dicomweb://pacs/x/studies/1.2/series/secret",
        "dicomweb://pacs/x/studies/1.2/series/1.3?patient=secret",
        "dicomweb://pacs/x#secret",
    ],
)
def test_an_address_that_cannot_be_used_is_one_line_that_does_not_repeat_it(text: str) -> None:
    assert is_archive_address(text)
    with pytest.raises(BadInput) as error:
        parse_address(text)
    assert "secret" not in str(error.value)
    assert error.value.remedy


def test_a_query_lists_what_matches(archive: StubArchive) -> None:
    everything = find_series(parse_address(archive.address))
    assert [(found.modality, found.images, found.date) for found in everything] == [
        ("MR", 6, "2020-02-02"),
        ("CT", 5, "2021-03-03"),
    ]
    assert everything[0].patient_id == SECRET
    expected = {
        "modality=CT": "CT",
        "date=2020-02-01..2020-02-28": "MR",
        f"patient={SECRET}&date=20210303": "CT",
        "name=Doe*&modality=mr": "MR",
    }
    for query, modality in expected.items():
        found = find_series(parse_address(f"{archive.address}?{query}"))
        assert [one.modality for one in found] == [modality], query
    assert find_series(parse_address(f"{archive.address}?patient=nobody")) == []


@pytest.mark.parametrize(("uid", "name"), [(MR, "mr"), (CT, "ct")])
def test_a_retrieved_series_equals_the_folder_bit_for_bit(
    archive: StubArchive, folder: Path, uid: str, name: str
) -> None:
    retrieved, read = read_scan(archive.series_address(uid)), read_scan(folder / name)
    assert retrieved.content_sha256 == read.content_sha256
    assert retrieved.array.dtype == read.array.dtype
    assert retrieved.geometry == read.geometry
    assert retrieved.properties == read.properties
    assert retrieved.source is not None
    assert uid not in str(retrieved.source)
    np.testing.assert_array_equal(np.asarray(retrieved.array), np.asarray(read.array))


def test_the_series_of_a_query_is_chosen_by_its_number(archive: StubArchive) -> None:
    assert [found.modality for found in list_series(archive.address)] == ["MR", "CT"]
    assert read_scan(archive.address, series=2).modality == "CT"
    assert read_scan(f"{archive.address}?modality=CT").modality == "CT"
    with pytest.raises(BadInput, match="2 series that match"):
        read_scan(archive.address)
    with pytest.raises(BadInput, match="give 1 to 2"):
        read_scan(archive.address, series=3)
    with pytest.raises(BadInput, match="no series that matches"):
        read_scan(f"{archive.address}?patient=nobody")


def test_a_series_is_asked_for_once_and_its_copy_is_private(archive: StubArchive) -> None:
    address = parse_address(archive.series_address(MR))
    copy = retrieve_series(address)
    assert retrieve_series(address) == copy
    assert sum(path.endswith(MR) for _, path, _ in archive.requests) == 1
    assert copy.parent.parent.stat().st_mode & 0o077 == 0
    discard_copy(copy)
    assert not copy.exists()
    assert retrieve_series(address) != copy


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("401", "asks who you are"),
        ("403", "does not permit this"),
        ("404", "found nothing there"),
        ("503", "is busy"),
        ("500", "reported an error"),
        ("no json", "not DICOMweb"),
        ("redirects", "redirects to another address"),
        ("half", "sent 3 of the 6 images"),
        ("breaks off", "broke off"),
        ("another patient", "another patient's images"),
        ("another series", "images of another series"),
        ("ignores filters", "other series than it was asked for"),
        ("not dicom", "not DICOMweb"),
    ],
)
def test_what_a_server_does_wrong_is_one_line_without_names(
    archive: StubArchive, caplog: pytest.LogCaptureFixture, fault: str, line: str
) -> None:
    address = parse_address(archive.series_address(MR))
    archive.fault = fault
    with caplog.at_level(logging.DEBUG), pytest.raises(BadInput) as raised:
        retrieve_series(address)
    said = str(raised.value)
    assert said.startswith("archive 127.0.0.1: ")
    assert line in said
    assert raised.value.remedy
    assert raised.value.__cause__ is None
    for secret in (MR, STUDY, SECRET, "Doe"):
        assert secret not in said
        assert secret not in caplog.text
    archive.fault = ""  # nothing of the failed attempt is left
    assert len(list(retrieve_series(address).iterdir())) == 6


def test_the_count_is_asked_for_where_a_query_does_not_say_it(archive: StubArchive) -> None:
    archive.fault = "no count"
    assert len(list(retrieve_series(parse_address(archive.series_address(MR))).iterdir())) == 6
    assert any(path.endswith("/instances") for _, path, _ in archive.requests)


def test_a_server_that_is_down(archive: StubArchive) -> None:
    archive.port, port = 9, archive.port  # the port "discard", which nothing serves
    with pytest.raises(BadInput, match="cannot be reached"):
        find_series(parse_address(archive.address))
    archive.port = port


@pytest.mark.parametrize("fault", ["", "falls silent"])
def test_a_server_that_is_slow(archive: StubArchive, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setattr(connection, "SILENCE_S", 0.3)
    archive.fault, archive.delay_s = fault, 0.0 if fault else 2.0
    with pytest.raises(BadInput, match=r"sent nothing for 0\.3 s"):
        retrieve_series(parse_address(archive.series_address(MR)))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_that_nobody_vouches_for_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(
        ["openssl", *command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    with running(StubArchive().add_folder(folder), (certificate, key)) as archive:
        address = parse_address(f"dicomweb://localhost:{archive.port}/dicom-web")
        with pytest.raises(BadInput, match="has a certificate that cannot be verified"):
            find_series(address)
        assert archive.requests == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert len(find_series(address)) == 2


def test_the_token_of_the_environment_goes_to_its_server_alone(
    archive: StubArchive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    archive.token = "t0ken"
    address = parse_address(archive.address)
    monkeypatch.setenv("LATENTSEG_ARCHIVE_TOKEN", "t0ken")
    with pytest.raises(BadInput, match="set without its server"):
        find_series(address)
    monkeypatch.setenv("LATENTSEG_ARCHIVE_SERVER", "pacs.example.org")
    with pytest.raises(BadInput, match="asks who you are"):
        find_series(address)
    assert [given for _, _, given in archive.requests] == [""]
    monkeypatch.setenv("LATENTSEG_ARCHIVE_SERVER", f"127.0.0.1:{archive.port}")
    with caplog.at_level(logging.DEBUG):
        assert len(find_series(address)) == 2
    assert "t0ken" not in caplog.text
    archive.token = "another"
    with pytest.raises(BadInput, match="does not accept the user or token") as error:
        find_series(address)
    assert "t0ken" not in str(error.value)


def test_user_and_password_are_not_sent_without_encryption(
    archive: StubArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTSEG_ARCHIVE_USER", "jane")
    monkeypatch.setenv("LATENTSEG_ARCHIVE_PASSWORD", "secret")
    monkeypatch.setenv("LATENTSEG_ARCHIVE_SERVER", "127.0.0.1")
    find_series(parse_address(archive.address))
    assert archive.requests[-1][2] == "Basic amFuZTpzZWNyZXQ="
    monkeypatch.setenv("LATENTSEG_ARCHIVE_SERVER", "pacs.example.org")
    with pytest.raises(BadInput, match="without encryption"):
        find_series(parse_address("dicomweb+http://pacs.example.org/dicom-web"))


def test_the_keyring_is_asked_for_the_entry_of_the_server(
    archive: StubArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keyring
    from keyring.credentials import SimpleCredential

    entries = {f"napari-latentseg:127.0.0.1:{archive.port}": SimpleCredential("token", "from-keyring")}
    monkeypatch.setattr(keyring, "get_credential", lambda service, user: entries.get(service))
    archive.token = "from-keyring"
    assert len(find_series(parse_address(archive.address))) == 2


def test_cancelling_leaves_nothing(archive: StubArchive) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Cancelled

    address = parse_address(archive.series_address(MR))
    with report_progress_to(stop), pytest.raises(Cancelled):
        retrieve_series(address)
    assert len(list(retrieve_series(address).iterdir())) == 6


def test_files_are_stored(archive: StubArchive, tmp_path: Path) -> None:
    new = save(
        dataset(np.ones((3, 4), np.uint16), SeriesInstanceUID="1.2.826.0.1.9"), tmp_path / "new" / "1.dcm"
    )
    assert store_files([new], parse_address(archive.address)) == 1
    assert archive.instances[-1] == pydicom.dcmread(new)
    assert len(find_series(parse_address(archive.address))) == 3


def test_what_is_not_stored_is_said(archive: StubArchive, folder: Path) -> None:
    files, address = sorted((folder / "mr").iterdir())[:2], parse_address(archive.address)
    archive.fault = "refuses to store"
    with pytest.raises(BadInput, match=r"did not take a file \(it took 0 of 2 files\)") as error:
        store_files(files, address)
    assert NAME not in str(error.value)
    archive.fault = "403"
    with pytest.raises(BadInput, match="does not permit this"):
        store_files(files[:1], address)
    (folder / "note.txt").write_text("no DICOM")
    archive.requests.clear()
    with pytest.raises(BadInput, match=r"note.txt: is not a DICOM file"):
        store_files([*files, folder / "note.txt"], address)
    assert archive.requests == []
