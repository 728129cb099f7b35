"""Stored values of DICOM frames: decoded by a chosen decoder, and within the bits that are stored."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicom.encoding import PixelEncoding
from napari_latentseg.io.dicom.files import DicomFile
from napari_latentseg.io.dicom.pixel_header import read_pixel_header

if TYPE_CHECKING:
    from pydicom.uid import UID

__all__ = ["DECODER_DEPENDENCIES", "decode_frame", "decode_stored", "is_available"]

_PLUGIN = "latentseg"  # the label of `decode_frame` among the decoders of pydicom
_BASELINE, _EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
_LOSSLESS, _LOSSLESS_SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_JPEG = (_BASELINE, _EXTENDED, _LOSSLESS, _LOSSLESS_SV1, *_JPEG_LS)
_PLUGIN_LOCK = threading.Lock()  # pydicom's list of plugins is not thread-safe

DECODER_DEPENDENCIES = dict.fromkeys(_JPEG, ("imagecodecs>=2024.6",))
"""As pydicom asks of a module with a decoder."""


def decode_stored(item: DicomFile, encoding: PixelEncoding, index: int) -> tuple[NDArray[Any], Any]:
    """The stored values of a frame, before rescaling; of a mosaic, all its tiles.

    Parameters
    ----------
    item, encoding
        The file, and how its pixels are stored.
    index
        Number of the frame in the file, from 0.

    Returns
    -------
    values : numpy.ndarray
        `(rows, columns)` or `(rows, columns, samples)`; YBR colours as RGB. Bits above those that are stored,
        in which old files keep overlays, are cleared, or filled with the sign.
    header : pydicom.Dataset
        The attributes that describe the pixels, lookup tables among them; not to be changed, since the other
        frames share it.

    Raises
    ------
    BadInput
        If no decoder knows the transfer syntax. Damaged pixels raise errors of any kind.
    """
    import pydicom
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import UID, AllTransferSyntaxes

    syntax = UID(encoding.syntax)
    header: Any = pydicom.Dataset()
    try:
        if syntax not in AllTransferSyntaxes:
            raise NotImplementedError
        decoder = get_decoder(syntax)
        plugin = _choose_plugin(decoder, encoding)
        if syntax.is_compressed and not decoder.is_available:
            raise NotImplementedError
        with item.open_seekable() as file:
            if encoding.whole_file_only:
                header = pydicom.dcmread(file, force=True)
                values = pixel_array(header, index=index, decoding_plugin=plugin)
            else:
                pixels = read_pixel_header(item, syntax)
                header = pixels.attributes
                file.seek(pixels.data_offset)
                values, _ = decoder.as_array(file, index=index, decoding_plugin=plugin, **pixels.options)
    except NotImplementedError as error:
        name = "a private or unknown one" if syntax.is_private or syntax.name == syntax else syntax.name
        raise BadInput(
            item.name, f"has a transfer syntax that is not supported ({name})", "export it uncompressed"
        ) from error
    return _within_stored_bits(np.asarray(values), encoding), header


def _choose_plugin(decoder: Any, encoding: PixelEncoding) -> str:
    """The name of the decoder to use; empty where pydicom has one alone.

    JPEG is read by imagecodecs, which knows 12 bits and lossless JPEG. Lossy colours are left to Pillow,
    which returns them unconverted, as pydicom expects. With a name, values do not depend on what else is
    installed.
    """
    if encoding.syntax not in _JPEG:
        return ""
    if encoding.samples_per_pixel > 1 and encoding.syntax in (_BASELINE, _EXTENDED):
        return "pillow"
    with _PLUGIN_LOCK:
        if _PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(_PLUGIN, (__name__, "decode_frame"))
    return _PLUGIN


def is_available(uid: str) -> bool:
    """Whether `decode_frame` reads a transfer syntax; called by pydicom."""
    return uid in _JPEG


def decode_frame(source: bytes, runner: Any) -> bytes:
    """Decode one frame of JPEG or JPEG-LS; called by pydicom.

    Parameters
    ----------
    source
        The compressed frame.
    runner
        pydicom's `DecodeRunner`, which is told the layout of the decoded values.
    """
    import imagecodecs

    syntax: UID = runner.transfer_syntax
    decode = imagecodecs.jpegls_decode if syntax in _JPEG_LS else imagecodecs.jpeg_decode
    values = decode(source)
    runner.set_option("planar_configuration", 0)
    runner.set_option("bits_allocated", values.dtype.itemsize * 8)
    return bytes(values.tobytes())


def _within_stored_bits(values: NDArray[Any], encoding: PixelEncoding) -> NDArray[Any]:
    unused_bits = values.dtype.itemsize * 8 - encoding.bits_stored
    if values.dtype.kind not in "iu" or unused_bits <= 0:
        return values
    # shifted right, a signed integer is filled with its sign
    return np.asarray(np.right_shift(np.left_shift(values, unused_bits), unused_bits))
