"""The cases of an archive: the series that match an address, each retrieved when its turn comes."""

from __future__ import annotations

from pathlib import Path

from napari_latentseg.batches.case import BatchCase
from napari_latentseg.io.dicom.header import short_hash
from napari_latentseg.io.dicomweb.address import parse_address
from napari_latentseg.io.dicomweb.retrieve import matching_series

__all__ = ["archive_cases"]


def archive_cases(address: Path) -> list[BatchCase]:
    """One case for each series, called after eight digits that reveal neither patient nor UID.

    Raises
    ------
    BadInput
        If the archive cannot be asked, or no series matches.
    """
    series = [parse_address(found.address) for found in matching_series(address)] or [parse_address(address)]
    return [BatchCase(f"series-{short_hash(one.series)}", Path(one.text)) for one in series]
