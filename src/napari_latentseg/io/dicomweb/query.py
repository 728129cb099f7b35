"""Ask an archive which series it has (QIDO-RS)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicomweb.address import ArchiveAddress
from napari_latentseg.io.dicomweb.connection import connect

__all__ = ["MAX_SERIES", "ArchiveSeries", "ask_for_series", "find_series"]

MAX_SERIES = 1000
"""Series that are listed at most: nobody reads more, and some archives hold millions."""

_FIELDS = (
    "PatientID", "PatientName", "StudyDate", "Modality", "SeriesDescription", "SeriesNumber",
    "NumberOfSeriesRelatedInstances",
)  # fmt: skip


@dataclass(frozen=True)
class ArchiveSeries:
    """A series as an archive describes it, for choosing one. Its `repr` names no patient.

    Attributes
    ----------
    number
        From 1, in the order of the answer; the value for `--series`.
    patient_id, patient_name, description
        As the archive says. Shown on screen only, never recorded.
    date
        Of the study, ``"2026-11-02"``; empty where the archive does not say.
    modality
        Such as ``"MR"``.
    images
        How many instances the series has; None where the archive does not say.
    address
        Of this series.

    Examples
    --------
    >>> from napari_latentseg import ArchiveSeries
    >>> ArchiveSeries(1, "MR", 22, patient_id="4711")
    ArchiveSeries(number=1, modality='MR', images=22)
    """

    number: int
    modality: str
    images: int | None
    patient_id: str = field(default="", repr=False)
    patient_name: str = field(default="", repr=False)
    date: str = field(default="", repr=False)
    description: str = field(default="", repr=False)
    address: str = field(default="", repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Empty: an archive does not say it."""
        return ()


def find_series(address: ArchiveAddress) -> list[ArchiveSeries]:
    """The series of an archive that match an address, in a fixed order; `MAX_SERIES` at most.

    Raises
    ------
    BadInput
        If the archive cannot be asked, or answers with series of others.
    """
    with connect(address) as client:
        return ask_for_series(client, address)


def ask_for_series(client: Any, address: ArchiveAddress) -> list[ArchiveSeries]:
    """As `find_series`, with a connection."""
    filters = {
        "PatientID": address.patient,
        # family and given name are separated by ^, which people do not write, and some servers do not decode
        "PatientName": re.sub(r"[\s^,]+", "*", address.name.strip()),
        "StudyDate": address.date,
        "Modality": address.modality,
        "SeriesInstanceUID": address.series,
    }
    answer: Sequence[Mapping[str, Any]] = client.search_for_series(
        address.study or None,
        limit=MAX_SERIES,
        fields=_FIELDS,
        search_filters={key: value for key, value in filters.items() if value},
    )
    rows = [(_Row(item), index) for index, item in enumerate(answer)]
    for row, _ in rows:
        _check_asked_for(address, row)
    rows.sort(key=lambda entry: (*entry[0].order, entry[1]))
    return [row.series(number, address) for number, (row, _) in enumerate(rows, 1)]


class _Row:
    """One series of an answer, in DICOM's JSON."""

    def __init__(self, item: Mapping[str, Any]) -> None:
        from pydicom import Dataset

        self._dataset = Dataset.from_json(dict(item), bulk_data_uri_handler=lambda _: None)
        self.study, self.uid = self.text("StudyInstanceUID"), self.text("SeriesInstanceUID")
        if not self.uid:
            raise ValueError("a series without UID")

    def text(self, keyword: str) -> str:
        value = self._dataset.get(keyword)
        return "" if value is None else str(value).strip()

    def number(self, keyword: str) -> int | None:
        value = self.text(keyword)
        return int(value) if value.isdecimal() else None

    @property
    def order(self) -> tuple[Any, ...]:
        place = (self.text("StudyDate"), self.text("PatientID"), self.study)
        return (*place, self.number("SeriesNumber") or 0, self.uid)

    def series(self, number: int, address: ArchiveAddress) -> ArchiveSeries:
        day = self.text("StudyDate")
        return ArchiveSeries(
            number,
            self.text("Modality"),
            self.number("NumberOfSeriesRelatedInstances"),
            self.text("PatientID"),
            self.text("PatientName").replace("^", " ").strip(),
            f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 else day,
            self.text("SeriesDescription"),
            address.of_series(self.study or address.study, self.uid).text,
        )


def _check_asked_for(address: ArchiveAddress, row: _Row) -> None:
    """Refuse series of others: a server that does not know a filter leaves it out, and names all that it has.

    Raises
    ------
    BadInput
        If patient, modality, study or series differ.
    """
    pairs = [
        (address.patient, row.text("PatientID"), "patients"),
        (address.modality, row.text("Modality"), "modalities"),
        (address.series, row.uid, "series"),
        (address.study, row.study or address.study, "studies"),
    ]
    for asked, given, what in pairs:
        # what the server does not say cannot be compared
        if asked and given and not fnmatchcase(given.casefold(), asked.casefold().replace("[", "[[]")):
            raise BadInput(
                address.title, f"answers with other {what} than it was asked for", "ask its administrator"
            )
