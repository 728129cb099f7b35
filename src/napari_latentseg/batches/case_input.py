"""The files of one case: their hash, reading them, and whether they changed meanwhile."""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path

from napari_latentseg.batches.case import BatchCase
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicom import reader as dicom
from napari_latentseg.io.dicom.reader import SeriesIndex, select_series
from napari_latentseg.io.file_hashes import path_sha256
from napari_latentseg.io.registry import find_reader, read_scan, stem_of

__all__ = ["CaseInput"]

# headers that name a second file with the values: MetaImage, NRRD
_VALUES_FILE = re.compile(
    rb"^(?:ElementDataFile|data ?file)\s*[:=]\s*(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE
)
_HEADERS, _PAIRED = (".mhd", ".nhdr"), (".hdr", ".img")
_MAX_HEADER_BYTES = 64 * 2**10
_Signature = tuple[tuple[str, int, int, int], ...]


class CaseInput:
    """The files of a case as they are now.

    Parameters
    ----------
    case
        The case.

    Raises
    ------
    BadInput
        If they cannot be found or read.
    """

    def __init__(self, case: BatchCase) -> None:
        self._case = case
        path = case.path
        self._is_dicom = find_reader(path).NAME == dicom.NAME
        try:
            self._files = self._find_files()
            self._signature = self._sign()
            self.sha256 = self._hash()
        except OSError as error:
            raise BadInput(path, f"cannot be read ({error.strerror})", "check the file") from error

    def read(self) -> Scan:
        """Read the image.

        Raises
        ------
        BadInput
            As `read_scan`.
        """
        if self._is_dicom:
            return _series_index(self._case.path).read(self._case.series)
        series = self._case.series
        return read_scan(self._case.path, series=int(series) if series is not None else None)

    def check_unchanged(self) -> None:
        """Refuse to use what was computed from files that have changed since.

        Raises
        ------
        BadInput
            If they have changed.
        """
        try:
            is_changed = self._sign() != self._signature and self._hash() != self.sha256
        except OSError:
            is_changed = True
        if is_changed:
            raise BadInput(self._case.path, "was changed while it was segmented", "segment it again")

    def _find_files(self) -> list[Path]:
        path = self._case.path
        if self._is_dicom and (path.is_dir() or self._case.series is not None):
            index = _series_index(path)
            series = select_series(path, index.series_list, self._case.series)
            return sorted({frame.item.path for frame in series.frames})
        if path.is_dir():
            return sorted(file for file in path.rglob("*") if file.is_file())
        suffix = path.suffix.lower()
        if suffix in _PAIRED:
            stem = stem_of(path)
            return sorted(p for p in path.parent.iterdir() if p.is_file() and stem_of(p) == stem)
        if suffix in _HEADERS:
            with path.open("rb") as file:
                names = _VALUES_FILE.findall(file.read(_MAX_HEADER_BYTES))
            values = [path.parent / os.fsdecode(name) for name in names]
            return [path, *(file for file in values if file.is_file())]
        return [path]

    def _sign(self) -> _Signature:
        """What changes with each file, without reading it: times, size, and number in the file system."""
        signature = []
        for file in self._files:
            with file.open("rb") as opened:  # opening brings what a network file system has cached up to date
                stat = os.fstat(opened.fileno())
            signature.append((str(file), stat.st_ino, stat.st_size, max(stat.st_mtime_ns, stat.st_ctime_ns)))
        return tuple(signature)

    def _hash(self) -> str:
        if len(self._files) == 1:
            digest = path_sha256(self._files[0])
        else:
            parts = (f"{file.name}\0{path_sha256(file)}\n" for file in self._files)
            digest = hashlib.sha256("".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
        return f"{digest}/{self._case.series}" if self._case.series is not None else digest


@lru_cache(maxsize=1)
def _series_index(path: Path) -> SeriesIndex:
    """The series of a folder; kept for its next series, which is mostly the next case."""
    return SeriesIndex.from_path(path)
