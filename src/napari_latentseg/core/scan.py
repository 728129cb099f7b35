"""A scan: an image array with its axes, geometry and metadata."""

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
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    import dask.array as da

    Array = NDArray[Any] | da.Array

__all__ = ["CHANNEL", "Scan", "describe_array", "to_numpy"]

CHANNEL = "c"
_AXES = frozenset("tzyxc")
_HASHED_AT_A_TIME = 16 * 2**20  # bytes: little beside a large scan; hashed in about 20 ms, then Cancel works


@dataclass(frozen=True, eq=False)
class Scan:
    """An image or volume with its axes and geometry; immutable. Equality is identity of the object.

    Parameters
    ----------
    array
        NumPy or dask; boolean, integer or floating point of 64 bits at most.
    axes
        One letter for each axis out of ``t z y x c``: ``"yx"``, ``"zyx"``, ``"yxc"``. They end in ``yx``, or
        in ``yxc`` with channels.
    geometry
        Of all axes but ``c``.
    modality
        DICOM's code, ``"MR"`` or ``"US"``; empty if the file does not say.
    format
        Name of the format that read it, a key of `napari_latentseg.io.FORMATS`.
    properties
        What the writer of that format needs to write the same header again: numbers, lists and text that
        JSON can hold. Never patient data.
    source
        The file or folder. For messages, and for DICOM-SEG, which refers to its series; never recorded.
    notes
        What the reader assumed or left out, in words for people; part of the run record.
    levels
        Coarser versions of the image for display, with the axes of `array`, where the file holds a pyramid.

    Raises
    ------
    BadInput
        If array, axes and geometry do not fit each other, the array is empty, or its dtype is not real.

    Examples
    --------
    >>> import numpy as np
    >>> geometry = Geometry.from_spacing("zyx", (5.0, 0.5, 0.5), "mm")
    >>> scan = Scan(np.zeros((20, 256, 256), np.int16), "zyx", geometry, modality="MR")
    >>> scan.spatial_shape, scan.geometry.spacing
    ((20, 256, 256), (5.0, 0.5, 0.5))
    >>> scan.replace(modality="CT").modality
    'CT'
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
            raise BadInput(
                name,
                f"axes {self.axes!r} are not known",
                "use each of the letters t, z, y, x, c at most once",
            )
        if CHANNEL in self.axes and not self.axes.endswith(CHANNEL):
            raise BadInput(name, f"axes {self.axes!r}: channels must come last", "move the axis c to the end")
        if len(self.axes) != self.array.ndim:
            raise BadInput(
                name, f"{self.array.ndim} dimensions for axes {self.axes!r}", "give one letter for each axis"
            )
        if not self.spatial_axes.endswith("yx"):
            raise BadInput(name, f"axes {self.axes!r} do not end in yx", "an image needs rows and columns")
        if 0 in self.array.shape:
            raise BadInput(name, f"is empty (shape {self.array.shape})", "choose another file")
        if self.array.dtype.kind not in "buif" or self.array.dtype.itemsize > 8:
            raise BadInput(
                name,
                f"values of type {self.array.dtype} are not supported",
                "use integers or floating-point numbers of 64 bits at most",
            )
        if self.geometry.ndim != len(self.spatial_axes):
            raise BadInput(
                name,
                f"a geometry of {self.geometry.ndim} axes for an image of {len(self.spatial_axes)}",
                "give a geometry of all axes but channels",
            )
        object.__setattr__(self, "properties", MappingProxyType(dict(self.properties)))

    def __repr__(self) -> str:
        # neither values nor the name of the file, which may be the patient's
        details = [self.modality, self.format, self.geometry.describe_spacing()]
        return f"Scan({describe_array(self.array, self.axes)}, {', '.join(d for d in details if d)})"

    def __reduce__(self) -> tuple[Any, ...]:
        # A mappingproxy cannot be pickled, and scans are sent to other processes.
        leading_args = (self.array, self.axes, self.geometry, self.modality, self.format)
        return type(self), (*leading_args, dict(self.properties), self.source, self.notes, self.levels)

    @property
    def spatial_axes(self) -> str:
        """The axes without channels: those of the geometry and of every mask."""
        return self.axes.removesuffix(CHANNEL)

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """The shape without channels."""
        return tuple(self.array.shape[: len(self.spatial_axes)])

    @property
    def name(self) -> str:
        """The name of the file, for messages; ``"image"`` without one."""
        return self.source.name if self.source else "image"

    @property
    def content_sha256(self) -> str:
        """The identity of the image: SHA-256 of dtype, shape and values, 64 hexadecimal digits.

        Splits, annotation stores, run records and the search for duplicates identify an image by this hash.
        The values hashed are those that the reader returned, so an image saved again without loss, under
        another name or in an annotation store, is the same image. Axes, geometry, modality and file name do
        not count.

        Values are hashed in C order, whatever the layout in memory. The byte order of the dtype counts
        (``>u2`` and ``<u2`` differ). Readers return native byte order, so only arrays made elsewhere can have
        another one; images that are in a store already keep their hash that way.

        Computed on first use and kept, so the array must not be changed afterwards. Two threads that ask at
        once compute it twice, with the same result. A dask array is read in parts of 16 MiB.

        Raises
        ------
        BadInput
            If a lazy array can no longer be read.

        Examples
        --------
        >>> import numpy as np
        >>> scan = Scan(np.zeros((2, 3), np.uint8), "yx", Geometry.from_spacing("yx"))
        >>> scan.content_sha256[:8]
        '56ba2b0a'
        """
        if not self._content:
            for _ in self.iter_sha256():
                pass
        return self._content

    def iter_sha256(
        self, box: tuple[int, int, int, int] | None = None, progress: Progress = no_progress
    ) -> Iterator[str]:
        """Compute the hash part by part, so that the caller can stop in between.

        Parameters
        ----------
        box
            Rows and columns of every slice (top, left, bottom, right, half-open). Only these values are read
            and hashed, together with the shape of the image and the box. None for the whole image.
        progress
            Called after every part with the fraction of the values that is hashed, in [0, 1].

        Yields
        ------
        str
            ``""`` after every part but the last, then the hash: `content_sha256` if there is no box.

        Raises
        ------
        BadInput
            If a lazy array can no longer be read.
        """
        if box is None and self._content:
            yield self._content
            return
        header = f"{self.array.dtype.str}{tuple(map(int, self.array.shape))}"
        part = self.array
        if box is not None:
            header += f"{box}"
            top, left, bottom, right = box
            channels = (slice(None),) if self.axes.endswith(CHANNEL) else ()
            part = part[(..., slice(top, bottom), slice(left, right), *channels)]
        digest = hashlib.sha256(header.encode())
        hashed_bytes = 0
        for values in _parts_in_order(part, self.name):
            digest.update(np.ascontiguousarray(values).data.cast("B"))
            hashed_bytes += values.nbytes
            progress(hashed_bytes / max(1, part.nbytes))
            if hashed_bytes < part.nbytes:
                yield ""
        if box is None:
            object.__setattr__(self, "_content", digest.hexdigest())
        yield digest.hexdigest()

    def replace(self, **changes: Any) -> Scan:
        """A validated copy with some attributes changed.

        Raises
        ------
        BadInput
            If the new values do not fit the others.
        """
        return replace(self, **changes)


def describe_array(array: Any, axes: str) -> str:
    """Axes, shape and type of an array in a few words: ``"zyx 20 x 64 x 48 int16"``."""
    return f"{axes} {' x '.join(map(str, array.shape))} {array.dtype}"


def to_numpy(array: Any) -> NDArray[Any]:
    """The values of an array in memory; a dask array is computed in the calling thread.

    Parameters
    ----------
    array
        NumPy or dask. Dask's callbacks are switched off: napari registers a cache that is not thread-safe.
    """
    if hasattr(array, "dask"):
        array = array.compute(scheduler="synchronous", callbacks=())
    return np.asarray(array)


def _parts_in_order(array: Any, name: str) -> Iterator[NDArray[Any]]:
    """Iterate over the values in C order, in parts of 16 MiB or less.

    Raises
    ------
    BadInput
        If a part can no longer be read.
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
