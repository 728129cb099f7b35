"""A DICOMweb server on loopback, for tests: it answers as it should, or misbehaves in the way it is told."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydicom

BOUNDARY = "part-of-a-series"
_SHOWN = (
    "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "PatientName", "StudyDate", "Modality",
    "SeriesDescription", "SeriesNumber",
)  # fmt: skip


class StubArchive:
    """What the server holds and does.

    Attributes
    ----------
    instances
        What it serves; those that are stored come to them.
    fault
        What it does wrong; see `Handler`. Empty for nothing.
    delay_s
        Seconds before each answer.
    token
        The bearer token that it asks for; empty for none.
    requests
        Method, path with query, and authorization of each request.
    """

    def __init__(self) -> None:
        self.instances: list[pydicom.Dataset] = []
        self.fault = ""
        self.delay_s = 0.0
        self.token = ""
        self.requests: list[tuple[str, str, str]] = []
        self.port = 0

    def add_folder(self, folder: Path) -> StubArchive:
        self.instances += [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]
        return self

    @property
    def address(self) -> str:
        return f"dicomweb+http://127.0.0.1:{self.port}/dicom-web"

    def series_address(self, series: str) -> str:
        study = next(ds.StudyInstanceUID for ds in self.instances if ds.SeriesInstanceUID == series)
        return f"{self.address}/studies/{study}/series/{series}"

    def of_series(self, study: str, series: str) -> list[pydicom.Dataset]:
        return [ds for ds in self.instances if (ds.StudyInstanceUID, ds.SeriesInstanceUID) == (study, series)]

    def answer_query(self, filters: dict[str, str]) -> list[dict[str, Any]]:
        rows = []
        for series in dict.fromkeys((ds.StudyInstanceUID, ds.SeriesInstanceUID) for ds in self.instances):
            members = self.of_series(*series)
            first = members[0]
            matches = all(_matches(str(first.get(key) or ""), value) for key, value in filters.items())
            if not matches and self.fault != "ignores filters":
                continue
            row = pydicom.Dataset()
            for keyword in _SHOWN:
                if keyword in first:
                    row.add(first[keyword])
            if self.fault != "no count":
                row.NumberOfSeriesRelatedInstances = len(members)
            rows.append(row.to_json_dict())
        return rows


def _matches(value: str, asked: str) -> bool:
    first, dash, last = asked.partition("-")
    if dash and (first + last).isdecimal():
        return first <= value <= (last or "99999999")
    return fnmatchcase(value, asked)


def encode(dataset: pydicom.Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Faults: a status as "401"; "no json", "redirects", "half", "breaks off", "falls silent",
    "ignores filters", "another patient", "another series", "no count", "not dicom", "refuses to store".
    """

    archive: StubArchive
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if not self._may_go_on("GET"):
            return
        parts = urlsplit(self.path)
        steps = parts.path.removeprefix("/dicom-web").strip("/").split("/")
        match steps:
            case ["series"]:
                filters = {key: values[0] for key, values in parse_qs(parts.query).items()}
            case ["studies", study, "series"]:
                filters = {key: values[0] for key, values in parse_qs(parts.query).items()}
                filters["StudyInstanceUID"] = study
            case ["studies", study, "series", series]:
                self._send_series(study, series)
                return
            case ["studies", study, "series", series, "instances"]:
                self._send_json([{} for _ in self.archive.of_series(study, series)])
                return
            case _:
                self._send(404, b"", "text/plain")
                return
        filters = {key: value for key, value in filters.items() if key not in ("limit", "includefield")}
        self._send_json(self.archive.answer_query(filters))

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._read_chunks()
        if not self._may_go_on("POST"):
            return
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        answer = pydicom.Dataset()
        for part in BytesParser().parsebytes(head + body).get_payload():
            content = part.get_payload(decode=True)  # type: ignore[union-attr]
            dataset = pydicom.dcmread(BytesIO(content))
            item = pydicom.Dataset()
            item.ReferencedSOPClassUID = dataset.SOPClassUID
            item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
            if self.archive.fault == "refuses to store":
                item.FailureReason = 0x0110
                answer.FailedSOPSequence = [item]
            else:
                self.archive.instances.append(dataset)
                answer.ReferencedSOPSequence = [item]
        self._send(200, json.dumps(answer.to_json_dict()).encode(), "application/dicom+json")

    def _read_chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _may_go_on(self, method: str) -> bool:
        archive = self.archive
        given = self.headers.get("Authorization") or ""
        archive.requests.append((method, self.path, given))
        if archive.delay_s:
            time.sleep(archive.delay_s)
        if archive.token and given != f"Bearer {archive.token}":
            self._send(401, b"", "text/plain")
        elif archive.fault.isdecimal():
            self._send(int(archive.fault), b"no, Doe^Jane", "text/plain")
        elif archive.fault == "no json":
            self._send(200, b"<html>Doe^Jane</html>", "text/html")
        elif archive.fault == "redirects":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            return True
        return False

    def _send_series(self, study: str, series: str) -> None:
        fault, members = self.archive.fault, self.archive.of_series(study, series)
        if fault == "half":
            members = members[: len(members) // 2]
        parts = [encode(ds) for ds in members]
        if fault == "not dicom":
            parts[0] = b"Doe^Jane"
        if fault in ("another patient", "another series"):
            changed = pydicom.dcmread(BytesIO(parts[-1]))
            if fault == "another patient":
                changed.PatientID = "other-0815"
            else:
                changed.SeriesInstanceUID += ".1"
            parts[-1] = encode(changed)
        head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join(head + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
        if fault == "breaks off":
            self._send(200, body, kind, sent=len(body) // 2)
        elif fault == "falls silent":
            self._send(200, body, kind, sent=len(body) // 2, then_wait_s=3)
        else:
            self._send(200, body, kind)

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), "application/dicom+json")

    def _send(
        self, status: int, body: bytes, kind: str, sent: int | None = None, then_wait_s: float = 0.0
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:sent])
        if sent is not None:
            self.wfile.flush()
            time.sleep(then_wait_s)
            self.close_connection = True


@contextmanager
def running(archive: StubArchive, certificate: tuple[Path, Path] | None = None) -> Iterator[StubArchive]:
    """Serve an archive on a free port of loopback; with a certificate and its key, by HTTPS."""
    handler = type("ArchiveHandler", (Handler,), {"archive": archive})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    archive.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
