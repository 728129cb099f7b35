"""A scan: an array, and where it lies in the patient."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    import dask.array as da

    Array = NDArray[Any] | da.Array

__all__ = ["CHANNEL", "Scan", "to_numpy"]

CHANNEL = "c"
_AXES = frozenset("tzyxc")


_HASHED_AT_A_TIME = 16 * 2**20  # bytes: little memory beside a large scan, and a stop is heard soon


@dataclass(frozen=True, eq=False)
class Scan:
    """An array with its axes and geometry; frozen. Two scans are equal where they are the same object.

    Parameters
    ----------
    array
        NumPy or dask, of a real dtype of 64 bits at most.
    axes
        One letter an axis out of ``t z y x c``; ``c`` (channels), where there is one, is last.
    geometry
        For the axes other than ``c``.
    modality
        What the file says (``"MR"``, ``"US"``), empty where it does not.
    format
        The name of the format that read it.
    properties
        What the writer of that format needs to write the same header again: plain numbers, lists and
        text, so that JSON holds it. Never patient data.
    source
        The file or folder, for messages, and for DICOM-SEG, which refers to what is there; never recorded.
    notes
        What the reader assumed or left out, in plain words, for people and for the run record.
    levels
        The same image ever coarser, each with the axes of `array`, where the file holds such; for display.

    Raises
    ------
    BadInput
        Where these do not fit each other.
    """

    array: Array
    axes: str
    geometry: Geometry
    modality: str = ""
    format: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = None
    notes: tuple[str, ...] = ()
    levels: tuple[Array, ...] = ()
    _content: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        name = self.name
        if not set(self.axes) <= _AXES or len(set(self.axes)) != len(self.axes):
            raise BadInput(name, f"axes {self.axes!r} are not known", "use each letter of tzyxc once at most")
        if CHANNEL in self.axes and not self.axes.endswith(CHANNEL):
            raise BadInput(name, f"axes {self.axes!r}: channels must come last", "move that axis")
        if len(self.axes) != self.array.ndim:
            raise BadInput(
                name, f"{self.array.ndim} dimensions for axes {self.axes!r}", "give one letter an axis"
            )
        if not self.spatial_axes.endswith("yx"):
            raise BadInput(name, f"axes {self.axes!r} do not end in yx", "an image needs a plane")
        if 0 in self.array.shape:
            raise BadInput(name, f"is empty (shape {self.array.shape})", "choose another file")
        if self.array.dtype.kind not in "buif" or self.array.dtype.itemsize > 8:
            raise BadInput(
                name,
                f"values of type {self.array.dtype} are not an image's",
                "use whole or real numbers of 64 bits at most",
            )
        if self.geometry.ndim != len(self.spatial_axes):
            raise BadInput(
                name,
                f"a geometry of {self.geometry.ndim} axes for an image of {len(self.spatial_axes)}",
                "give one for every axis but the channels",
            )
        object.__setattr__(self, "properties", MappingProxyType(dict(self.properties)))

    def __reduce__(self) -> tuple[Any, ...]:
        # A read-only mapping cannot be pickled, and a scan must be able to go to another process.
        leading_args = (self.array, self.axes, self.geometry, self.modality, self.format)
        return type(self), (*leading_args, dict(self.properties), self.source, self.notes, self.levels)

    @property
    def spatial_axes(self) -> str:
        """The axes without channels, which are those of the geometry and of every result."""
        return self.axes.removesuffix(CHANNEL)

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """The shape without channels."""
        return tuple(self.array.shape[: len(self.spatial_axes)])

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return self.source.name if self.source else "image"

    @property
    def content_sha256(self) -> str:
        """The image's one identity: SHA-256 of dtype, shape and values, 64 hexadecimal digits.

        Splits, stores, run records and the search for duplicates know an image by this. It is what the
        reader made of the file, so a picture saved again without loss, under another name or as a case of
        an annotation store is the same image. Axes, geometry, modality and file do not count.

        Values count in C order, whatever the layout in memory. The byte order of the dtype does count:
        ``>u2`` and ``<u2`` differ. The readers give native byte order, so only arrays made elsewhere can
        have another, and those that are in a store already are found by what they had.

        Reckoned at the first use and kept, so the array must not be changed afterwards. Two threads that
        ask at once reckon the same value twice. A dask array is read in parts of 16 MiB.

        Raises
        ------
        BadInput
            Where a lazy array can no longer be read.

        Examples
        --------
        >>> import numpy as np
        >>> scan = Scan(np.zeros((2, 3), np.uint8), "yx", Geometry.from_spacing("yx"))
        >>> scan.content_sha256[:8]
        '56ba2b0a'
        """
        if not self._content:
            for _ in self.hashing():
                pass
        return self._content

    def hashing(self, box: tuple[int, int, int, int] | None = None) -> Iterator[str]:
        """Hash the values part by part, for a caller that wants to be stopped in between.

        Parameters
        ----------
        box
            Rows and columns of every plane, half-open (top, left, bottom, right), that alone are read and
            hashed. Such a hash names the box of that place in an image of that shape, and not the image.

        Yields
        ------
        str
            ``""`` after every part but the last, and then the hash: `content_sha256` where there is no box.

        Raises
        ------
        BadInput
            Where a lazy array can no longer be read.
        """
        if box is None and self._content:
            yield self._content
            return
        about = f"{self.array.dtype.str}{tuple(map(int, self.array.shape))}"
        part = self.array
        if box is not None:
            about += f"{box}"
            top, left, bottom, right = box
            channels = (slice(None),) if self.axes.endswith(CHANNEL) else ()
            part = part[(..., slice(top, bottom), slice(left, right), *channels)]
        digest = hashlib.sha256(about.encode())
        is_first = True
        for values in _parts_in_order(part, self.name):
            if not is_first:
                yield ""
            is_first = False
            digest.update(np.ascontiguousarray(values).data.cast("B"))
        if box is None:
            object.__setattr__(self, "_content", digest.hexdigest())
        yield digest.hexdigest()

    def replace(self, **changes: Any) -> Scan:
        """A validated copy with other values.

        Raises
        ------
        BadInput
            Where they do not fit the rest.
        """
        return replace(self, **changes)


def to_numpy(array: Any) -> NDArray[Any]:
    """An array's values, read in this thread.

    Parameters
    ----------
    array
        NumPy's, or dask's: caches that others have registered with dask, as napari does, are passed by, for
        they are made for one thread.
    """
    if hasattr(array, "dask"):
        array = array.compute(scheduler="synchronous", callbacks=())
    return np.asarray(array)


def _parts_in_order(array: Any, name: str) -> Iterator[NDArray[Any]]:
    """The values in C order, in parts that are not too large, read past the caches of others.

    Raises
    ------
    BadInput
        Where a part can no longer be read.
    """
    if array.nbytes <= _HASHED_AT_A_TIME or array.ndim == 1:
        try:
            yield to_numpy(array)
        except OSError as error:
            raise BadInput(name, f"cannot be read ({error.strerror})", "open it again") from error
        return
    rows = max(1, int(_HASHED_AT_A_TIME // (array.nbytes / len(array))))
    for start in range(0, len(array), rows):
        part = array[start : start + rows]
        yield from _parts_in_order(part[0] if len(part) == 1 else part, name)
