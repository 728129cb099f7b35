"""Shared by all file formats: errors as `BadInput`, and the check of an array before it is written."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL
from napari_latentseg.errors import BadInput, system_failure

_WRITABLE_DTYPES = tuple(
    np.dtype(t) for t in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64)
)


_COPY_AGAIN = "copy or export it again"
_silenced_loggers: ContextVar[frozenset[str]] = ContextVar("silenced_loggers", default=frozenset())


@contextmanager
def read_errors(path: Path, kind: str, why: str = "") -> Iterator[None]:
    """Turn any error of a library that reads a file into `BadInput`, which names the file.

    Parameters
    ----------
    path
        The file.
    kind
        What the file should be, with its article: ``"a TIFF file"``.
    why
        The reason to give for a broken file, in place of "is not KIND, or is damaged or cut short".

    Raises
    ------
    BadInput
        For any error. The text of the library's error is not shown: it may quote the header.
    """
    try:
        yield
    except BadInput as error:
        if error.what != "geometry":  # raised by `Geometry`, which does not know the file
            raise
        raise BadInput(path, error.why, error.remedy) from error
    except MemoryError as error:
        raise BadInput(
            path, "does not fit into memory", "crop it, or use a machine with more memory"
        ) from error
    except FileNotFoundError as error:
        if path.exists():  # a library's own error, about a part of the file
            raise BadInput(path, why or f"is not {kind}, or lacks a part", _COPY_AGAIN) from error
        raise BadInput(path, "no such file", "check the path") from error
    except PermissionError as error:
        raise BadInput(path, "cannot be read (permission denied)", "ask for permission to read it") from error
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except OSError as error:
        failure = system_failure(error)
        if failure is None:
            raise BadInput(path, why or f"is not {kind}, or is damaged or cut short", _COPY_AGAIN) from error
        raise BadInput(path, failure.why, failure.remedy) from error
    except BaseException as error:  # libraries raise almost anything; a panic of Rust is no Exception
        if "imagecodecs" in str(error):
            raise BadInput(
                path,
                "is compressed in a way that needs another package",
                "install imagecodecs, or save it uncompressed",
            ) from error
        raise BadInput(path, why or f"is not {kind}, or is damaged or cut short", _COPY_AGAIN) from error


@contextmanager
def write_errors(path: Path, suffixes: tuple[str, ...], kind: str) -> Iterator[None]:
    """Turn any error of a library that writes a file into `BadInput`.

    Parameters
    ----------
    path
        The file to write.
    suffixes
        Allowed file name suffixes, lower case.
    kind
        What the file is, with its article.

    Raises
    ------
    BadInput
        For any error, and if the name has none of the suffixes.
    """
    if not path.name.lower().endswith(suffixes):
        raise BadInput(path, f"is not a name for {kind}", f"let it end in {suffixes[0]}")
    try:
        yield
    except BadInput:
        raise
    except OSError as error:
        raise BadInput(
            path, f"cannot be written ({error.strerror or 'no reason given'})", "choose another folder"
        ) from error
    except Exception as error:
        raise BadInput(path, f"cannot be written as {kind}", "choose another format") from error


@contextmanager
def silence_logger(logger: str) -> Iterator[None]:
    """Suppress a library's log messages in this context: they may quote the header of a patient's file.

    Notes
    -----
    The context is that of `contextvars`: it covers this thread, and the threads in which Zarr decodes chunks
    on its behalf, but no others.
    """

    def is_elsewhere(record: logging.LogRecord) -> bool:
        return logger not in _silenced_loggers.get()

    log = logging.getLogger(logger)
    token = _silenced_loggers.set(_silenced_loggers.get() | {logger})
    log.addFilter(is_elsewhere)
    try:
        yield
    finally:
        log.removeFilter(is_elsewhere)
        _silenced_loggers.reset(token)


def as_writable(path: Path, array: NDArray[np.generic], axes: str, geometry: Geometry) -> NDArray[np.generic]:
    """Check an array against its axes and geometry, and convert it to a dtype that files can hold.

    Booleans become uint8, float16 becomes float32 and 64-bit integers become int32.

    Raises
    ------
    BadInput
        If array, axes and geometry do not fit each other, or no writable dtype holds the values exactly.
    """
    array = np.asarray(array)
    return array.astype(writable_dtype(path, array, axes, geometry), copy=False)


def writable_dtype(path: Path, array: Any, axes: str, geometry: Geometry) -> np.dtype[Any]:
    """The dtype to which `as_writable` converts an array (NumPy or dask).

    Raises
    ------
    BadInput
        As `as_writable`.
    """
    spatial = axes.removesuffix(CHANNEL)
    labels = "".join(geometry.axis_labels)
    axes_disagree = set(labels) <= set("tzyx") and labels != spatial
    if array.ndim != len(axes) or geometry.ndim != len(spatial) or axes_disagree or 0 in array.shape:
        raise BadInput(
            path,
            f"an array of shape {array.shape} with axes {axes!r} does not fit a geometry of {labels!r}",
            "write one class at a time, in the geometry of its scan",
        )
    if array.dtype == np.bool_:
        return np.dtype(np.uint8)
    if array.dtype == np.float16:
        return np.dtype(np.float32)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        limits = np.iinfo(np.int32)
        if array.min() < limits.min or array.max() > limits.max:
            raise BadInput(path, "holds integers beyond 32 bits", "number the classes from 1")
        return np.dtype(np.int32)
    native: np.dtype[Any] = array.dtype.newbyteorder("=")
    if native not in _WRITABLE_DTYPES:
        raise BadInput(path, f"values of type {array.dtype} cannot be written", "use uint8 or float32")
    return native
