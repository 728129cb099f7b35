"""The addresses of archives: ``dicomweb://host[:port]/path?patient=ID&date=DATE&modality=MR``.

Only the standard library is needed here, since every path that is read is looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from napari_latentseg.errors import BadInput, choose_from

__all__ = ["ArchiveAddress", "is_archive_address", "parse_address"]

_EXAMPLE = "write dicomweb://host:port/path?patient=ID&date=2026-11-02&modality=MR"
# pathlib makes one slash of two
_ADDRESS = re.compile(r"(?P<scheme>dicomweb(?:\+http)?):/{1,2}(?P<rest>[^/].*)", re.DOTALL)
_BEGINS = re.compile(r"dicomweb(\+http)?:")
_PROTOCOLS = {"dicomweb": "https", "dicomweb+http": "http"}
_PORTS = {"https": 443, "http": 80}
_LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_ONE_SERIES = re.compile(r"(?P<path>.*)/studies/(?P<study>[^/]+)/series/(?P<series>[^/]+)/?")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_MAX_UID_LENGTH = 64  # PS3.5, table 6.2-1
_DAY = r"\d{4}-?\d{2}-?\d{2}"
_DATES = (
    re.compile(rf"(?P<first>{_DAY})"),
    re.compile(rf"(?P<first>{_DAY})?\.\.(?P<last>{_DAY})?"),
    re.compile(r"(?P<first>\d{8})?-(?P<last>\d{8})?"),  # as DICOM writes it
)
_FILTERS = ("patient", "name", "date", "modality")


@dataclass(frozen=True)
class ArchiveAddress:
    """An archive, and which of its series are meant. Its `repr` names neither a patient nor a series.

    Attributes
    ----------
    protocol
        ``"https"``, or ``"http"`` where the address begins with ``dicomweb+http``.
    host, port, path
        Of the DICOMweb service.
    patient, name, date, modality
        What the series must match: ID and name of the patient, where ``*`` stands for any characters; a day
        or a range of days as DICOM writes it; the modality. Empty for any.
    study, series
        UIDs, of an address that names one series.
    """

    protocol: str
    host: str
    port: int
    path: str = ""
    patient: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    date: str = field(default="", repr=False)
    modality: str = ""
    study: str = field(default="", repr=False)
    series: str = field(default="", repr=False)

    @property
    def server(self) -> str:
        """Host and port, for which credentials are kept."""
        return f"{self.host}:{self.port}"

    @property
    def title(self) -> str:
        """What messages call the archive."""
        return f"archive {self.host}"

    @property
    def is_loopback(self) -> bool:
        """Whether the archive runs on this machine, so that nobody else reads what is sent."""
        return _LOOPBACK.fullmatch(self.host) is not None

    @property
    def url(self) -> str:
        """The URL of the service."""
        return f"{self.protocol}://{self.server}{self.path}"

    @property
    def text(self) -> str:
        """The address as a person writes it; it may name a patient."""
        scheme = "dicomweb" if self.protocol == "https" else "dicomweb+http"
        port = "" if self.port == _PORTS[self.protocol] else f":{self.port}"
        text = f"{scheme}://{self.host}{port}{self.path}"
        if self.series:
            return f"{text}/studies/{self.study}/series/{self.series}"
        filters = {key: getattr(self, key) for key in _FILTERS if getattr(self, key)}
        return text + (f"?{urlencode(filters, quote_via=quote)}" if filters else "")

    def without_query(self) -> ArchiveAddress:
        """The address of the archive alone."""
        return ArchiveAddress(self.protocol, self.host, self.port, self.path)

    def of_series(self, study: str, series: str) -> ArchiveAddress:
        """The address of one series of this archive."""
        return ArchiveAddress(self.protocol, self.host, self.port, self.path, study=study, series=series)

    def matching(
        self, patient: str | None = None, name: str | None = None, date: str | None = None,
        modality: str | None = None,
    ) -> ArchiveAddress:  # fmt: skip
        """The address with other filters; None leaves one as it is.

        Raises
        ------
        BadInput
            If the date is none.
        """
        changes: dict[str, Any] = {
            "patient": patient,
            "name": name,
            "modality": modality and modality.upper(),
        }
        if date is not None:
            changes["date"] = _dicom_date(date)
        return replace(self, **{key: value for key, value in changes.items() if value is not None})


def is_archive_address(path: object) -> bool:
    """Whether a path is the address of an archive.

    Examples
    --------
    >>> is_archive_address("dicomweb://pacs.example.org/dicom-web"), is_archive_address("knee.nii.gz")
    (True, False)
    """
    return isinstance(path, str | PurePath) and _BEGINS.match(str(path)) is not None


def parse_address(address: object) -> ArchiveAddress:
    """Read the address of an archive.

    Parameters
    ----------
    address
        Text, or a path that was made of it. ``dicomweb://`` stands for HTTPS, ``dicomweb+http://`` for HTTP
        without encryption. ``/studies/UID/series/UID`` at its end names one series.

    Raises
    ------
    BadInput
        If it is no such address, or holds a password. The message does not quote it.

    Examples
    --------
    >>> parse_address("dicomweb://pacs.example.org/dicom-web?modality=MR").url
    'https://pacs.example.org:443/dicom-web'
    """
    if isinstance(address, ArchiveAddress):
        return address
    match = _ADDRESS.fullmatch(str(address).replace("\\", "/"))
    if match is None:
        raise BadInput("archive", "is not an address of an archive", _EXAMPLE)
    protocol = _PROTOCOLS[match["scheme"]]
    try:
        parts = urlsplit(f"{protocol}://{match['rest']}")
        host, port = parts.hostname or "", parts.port or _PORTS[protocol]
        filters = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise BadInput("archive", "has an address that cannot be read", _EXAMPLE) from None
    if "@" in parts.netloc:
        remedy = "leave user and password out; docs/archive.md says where they are kept"
        raise BadInput("archive", "has a user or password in its address, which others may read", remedy)
    if not _HOST.fullmatch(host) or parts.fragment:
        raise BadInput("archive", "has an address that cannot be read", _EXAMPLE)
    one_series = _ONE_SERIES.fullmatch(parts.path)
    path = (one_series["path"] if one_series else parts.path).rstrip("/")
    parsed = ArchiveAddress(protocol, host, port, path)
    if one_series:
        if filters:
            raise BadInput(
                parsed.title, "is asked for one series and for others too", "leave out what follows ?"
            )
        for uid in (one_series["study"], one_series["series"]):
            if not _UID.fullmatch(uid) or len(uid) > _MAX_UID_LENGTH:
                raise BadInput(
                    parsed.title, "is asked for a series by something that is not a UID", "check the address"
                )
        return parsed.of_series(one_series["study"], one_series["series"])
    for key, _ in filters:
        if key not in _FILTERS:
            raise BadInput(parsed.title, f"cannot be asked for {key[:20]!r}", choose_from(key, _FILTERS))
    return parsed.matching(**dict(filters))


def _dicom_date(text: str) -> str:
    """A day or a range of days as DICOM writes it; empty for any day.

    Raises
    ------
    BadInput
        If it is none.
    """
    if text in ("", "..", "-"):
        return ""
    for pattern in _DATES:
        match = pattern.fullmatch(text.strip())
        if match is None:
            continue
        days = {key: (value or "").replace("-", "") for key, value in match.groupdict().items()}
        return "-".join(days.values())
    raise BadInput("date", "is not a date", "write 2026-11-02, or a range: 2026-11-01..2026-11-30")
