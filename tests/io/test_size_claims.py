"""Small files that claim to be large, and names that lead elsewhere: refused before memory is asked for.

The claims are a few hundred megabytes: a reader that believes them fails these tests, and not the machine.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import nibabel as nib
import numpy as np
import psutil
import pydicom
import pytest
import tifffile
from pydicom.encaps import encapsulate
from tests.helpers.dicom import dataset, save

from napari_latentseg import BadInput
from napari_latentseg.io._codestreams import stream_pixels
from napari_latentseg.io.registry import list_series, read_scan, read_scan_lazy

MIB = 2**20
BOTH = pytest.mark.parametrize("read", [read_scan, read_scan_lazy], ids=["read", "lazily"])


def nifti_header(shape: tuple[int, ...], offset: int = 352) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"], header["magic"] = offset, b"n+1\0"
    return header.binaryblock + bytes(4)


def nifti(folder: Path) -> Path:
    (folder / "a.nii").write_bytes(nifti_header((600, 600, 600)))
    return folder / "a.nii"


def nifti_packed(folder: Path) -> Path:
    (folder / "a.nii.gz").write_bytes(gzip.compress(nifti_header((600, 600, 600))))
    return folder / "a.nii.gz"


def nifti_far_values(folder: Path) -> Path:
    (folder / "a.nii").write_bytes(nifti_header((4, 4, 4), 200 * MIB) + bytes(128))
    return folder / "a.nii"


def analyze(folder: Path) -> Path:
    header = nib.AnalyzeHeader()
    header.set_data_shape((600, 600, 600))
    header.set_data_dtype(np.int16)
    header["pixdim"][1:4] = 1
    (folder / "a.hdr").write_bytes(header.binaryblock)
    (folder / "a.img").write_bytes(bytes(64))
    return folder / "a.hdr"


def mgh(folder: Path) -> Path:
    nib.save(nib.MGHImage(np.zeros((4, 4, 4), np.uint8), np.eye(4)), folder / "a.mgh")
    stored = bytearray((folder / "a.mgh").read_bytes())
    stored[4:16] = struct.pack(">3i", 600, 600, 600)
    (folder / "a.mgh").write_bytes(stored)
    return folder / "a.mgh"


def metaimage(folder: Path) -> Path:
    header = "NDims = 3\nDimSize = 600 600 600\nElementType = MET_SHORT\nCompressedData = True\n"
    (folder / "a.mha").write_bytes(f"{header}ElementDataFile = LOCAL\n".encode() + zlib.compress(bytes(99)))
    return folder / "a.mha"


def metaimage_list(folder: Path) -> Path:
    """A megabyte that is named three hundred times."""
    header = "NDims = 3\nDimSize = 1024 1024 300\nElementType = MET_UCHAR\nElementDataFile = LIST\n"
    (folder / "a.mhd").write_text(header + "s.raw\n" * 300)
    (folder / "s.raw").write_bytes(bytes(MIB))
    return folder / "a.mhd"


def nrrd(folder: Path, encoding: str = "gzip") -> Path:
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nsizes: 600 600 600\nencoding: {encoding}\nendian: little\n"
    )
    (folder / "a.nrrd").write_bytes(f"{header}spacings: 1 1 1\n\n".encode() + bytes(64))
    return folder / "a.nrrd"


def tiff(folder: Path) -> Path:
    return one_strip(folder, (20_000, 20_000), 8, b"")


def one_strip(folder: Path, size: tuple[int, int], compression: int, content: bytes) -> Path:
    """A TIFF file of one strip with this content."""
    rows, columns = size
    tags = [(256, 4, columns), (257, 4, rows), (258, 3, 8), (259, 3, compression), (262, 3, 1),
            (273, 4, 122), (277, 3, 1), (278, 4, rows), (279, 4, len(content))]  # fmt: skip
    stored = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    stored += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    (folder / "a.tif").write_bytes(stored + bytes(4) + content)
    return folder / "a.tif"


def ome(folder: Path, pixels: str, plane: str = '<TiffData IFD="0" PlaneCount="1"/>') -> Path:
    sizes = {"SizeX": 4, "SizeY": 4, "SizeC": 1, "SizeZ": 1, "SizeT": 1}
    attributes = " ".join(f'{name}="{n}"' for name, n in sizes.items() if name not in pixels)
    text = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" {attributes} {pixels}>'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{plane}</Pixels></Image></OME>'
    )
    tifffile.imwrite(folder / "a.ome.tif", np.zeros((4, 4), np.uint8), description=text, metadata=None)
    return folder / "a.ome.tif"


def ome_times(folder: Path) -> Path:
    return ome(folder, 'SizeT="30000000"')


def ome_planes(folder: Path) -> Path:
    return ome(folder, 'SizeT="1"', '<TiffData IFD="0" PlaneCount="30000000"/>')


def endless_pages(folder: Path) -> Path:
    """The second page's successor is itself."""
    tifffile.imwrite(folder / "a.tif", np.zeros((2, 4, 4), np.uint8), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(folder / "a.tif") as tif:
        assert len(tif.pages) == 2
        last, end = tif.pages[1].offset, tif.pages.next_page_offset
    stored = bytearray((folder / "a.tif").read_bytes())
    stored[end : end + 4] = struct.pack("<I", last)
    (folder / "a.tif").write_bytes(stored)
    return folder / "a.tif"


def zarr(folder: Path, shape: list[int], chunks: list[int]) -> Path:
    path = folder / "a.zarr"
    (path / "0").mkdir(parents=True)
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [1, 1, 1]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    multiscales = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    (path / ".zattrs").write_text(json.dumps({"multiscales": multiscales}))
    fields = {"zarr_format": 2, "shape": shape, "chunks": chunks, "dtype": "|u1", "compressor": None,
              "fill_value": 7, "order": "C", "filters": None}  # fmt: skip
    (path / "0" / ".zarray").write_text(json.dumps(fields))
    return path


def zarr_slices(folder: Path) -> Path:
    return zarr(folder, [30_000_000, 16, 16], [1, 16, 16])


def zarr_chunks(folder: Path) -> Path:
    return zarr(folder, [100_000, 100_000, 100_000], [1, 1, 1])


def zarr_one_chunk(folder: Path) -> Path:
    return zarr(folder, [1, 20_000, 20_000], [1, 20_000, 20_000])


def png(folder: Path) -> Path:
    def part(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    size = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 0, 0, 0, 0)
    pixels = part(b"IDAT", zlib.compress(bytes(64)))
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", size) + pixels + part(b"IEND", b""))
    return folder / "a.png"


def bmp(folder: Path) -> Path:
    header = struct.pack("<2sIHHI", b"BM", 100, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, 12_000, 12_000, 1, 24, 0, 0, 0, 0, 0, 0)
    (folder / "a.bmp").write_bytes(header + bytes(64))
    return folder / "a.bmp"


def compressed_dicom(folder: Path, **changes: object) -> Path:
    """One RLE frame of 8 x 8."""
    ds = dataset(np.zeros((8, 8), np.uint8))
    ds.compress(pydicom.uid.RLELossless)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return save(ds, folder / "a.dcm")


def dicom_rows(folder: Path) -> Path:
    return compressed_dicom(folder, Rows=20_000, Columns=20_000)


def dicom_frames(folder: Path) -> Path:
    return compressed_dicom(folder, NumberOfFrames=300)


def dicom_frames_without_bits(folder: Path) -> Path:
    return save(
        dataset(np.zeros((8, 8), np.uint8), NumberOfFrames=3_000_000, BitsAllocated=0), folder / "a.dcm"
    )


def deflated_dicom(folder: Path, trailing: int, **changes: object) -> Path:
    ds = dataset(np.zeros((8, 8), np.uint8), **changes)
    ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    plain, whole = io.BytesIO(), io.BytesIO()
    ds.save_as(whole, enforce_file_format=True)
    length = whole.getvalue().index(b"\x02\x00\x00\x00UL\x04\x00") + 8
    start = length + 4 + struct.unpack("<I", whole.getvalue()[length : length + 4])[0]
    plain.write(zlib.decompress(whole.getvalue()[start:], -15))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(plain.getvalue() + bytes(trailing)) + packer.flush()
    (folder / "a.dcm").write_bytes(whole.getvalue()[:start] + packed)
    return folder / "a.dcm"


def stream(kind: str, side: int = 12_000) -> bytes:
    """A compressed image of 32 x 32 whose own header claims another size."""
    values = np.arange(1024).reshape(32, 32).astype(np.uint8)
    if kind == "jpeg2000":
        data = bytearray(imagecodecs.jpeg2k_encode(values, codecformat="j2k", level=0))
        sizes = data.index(b"\xff\x51") + 6
        data[sizes : sizes + 8] = data[sizes + 16 : sizes + 24] = struct.pack(">II", side, side)
        return bytes(data)
    is_lossless = kind == "jpeg-ls"
    data = bytearray(imagecodecs.jpegls_encode(values) if is_lossless else imagecodecs.jpeg8_encode(values))
    frame = data.index(b"\xff\xf7" if is_lossless else b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def stream_in_dicom(folder: Path, kind: str, syntax: str) -> Path:
    ds = dataset(np.zeros((32, 32), np.uint8))
    ds.PixelData = encapsulate([stream(kind)])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    return save(ds, folder / "a.dcm")


def jpeg_in_dicom(folder: Path) -> Path:
    return stream_in_dicom(folder, "jpeg", pydicom.uid.JPEGBaseline8Bit)


def jpeg_ls_in_dicom(folder: Path) -> Path:
    return stream_in_dicom(folder, "jpeg-ls", pydicom.uid.JPEGLSLossless)


def jpeg2000_in_dicom(folder: Path) -> Path:
    return stream_in_dicom(folder, "jpeg2000", pydicom.uid.JPEG2000Lossless)


def jpeg_in_tiff(folder: Path) -> Path:
    return one_strip(folder, (32, 32), 7, stream("jpeg"))


def jpeg2000_in_tiff(folder: Path) -> Path:
    return one_strip(folder, (32, 32), 34712, stream("jpeg2000"))


def dicom_deflated_bomb(folder: Path) -> Path:
    return deflated_dicom(folder, 100 * MIB)


def dicom_deflated_frames(folder: Path) -> Path:
    return deflated_dicom(folder, 0, NumberOfFrames=300)


BOMBS = [
    (nifti, "claims more"), (nifti_packed, "claims more"), (nifti_far_values, "far behind its header"),
    (analyze, "claims more"), (mgh, "claims more"),
    (metaimage, "claims more"), (metaimage_list, "claims more"), (nrrd, "claims more"),
    (tiff, "claims more"), (ome_times, "claims more planes"), (ome_planes, "claims more planes"),
    (endless_pages, "do not follow each other"),
    (zarr_slices, "too many"), (zarr_chunks, "too many"), (zarr_one_chunk, "claims more"),
    (png, "claims more"), (bmp, "claims more"),
    (dicom_rows, "claims more"), (dicom_frames, "cut short"), (dicom_frames_without_bits, "cut short"),
    (jpeg_in_dicom, "claims more"), (jpeg_ls_in_dicom, "claims more"), (jpeg2000_in_dicom, "claims more"),
    (jpeg_in_tiff, "claims more"), (jpeg2000_in_tiff, "claims more"),
    (dicom_deflated_bomb, "inflates to more"), (dicom_deflated_frames, "cut short"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@BOTH
@pytest.mark.parametrize(("make", "why"), BOMBS, ids=[make.__name__ for make, _ in BOMBS])
def test_a_claim_is_held_against_the_size_first(
    make: Callable[[Path], Path], why: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = make(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match=why) as refusal:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * MIB
    assert "\n" not in str(refusal.value)


def test_series_are_listed_in_bounded_memory(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cut short"):
        list_series(dicom_frames(tmp_path))


@BOTH
def test_a_deflated_file_that_is_whole_is_read(read: Callable[[Path], object], tmp_path: Path) -> None:
    scan = read(deflated_dicom(tmp_path, 1000))
    assert np.asarray(scan.array).shape[-2:] == (8, 8)  # type: ignore[attr-defined]


def test_what_does_not_fit_into_memory_is_said_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values are there; the memory is not."""
    path = tmp_path / "a.nii"
    path.write_bytes(nifti_header((400, 400, 400)))
    with path.open("r+b") as file:
        file.truncate(352 + 2 * 400**3)
    free = psutil.virtual_memory()._replace(available=100 * MIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(BadInput, match=r"needs 0\.1 GB, of which 0\.1 are free"):
        read_scan(path)
    assert read_scan_lazy(path).array.shape == (400, 400, 400)


def test_gzip_that_goes_on_long_after_its_values_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = packer.compress(nifti_header((4, 4, 4)) + bytes(128))
    packed += b"".join(packer.compress(bytes(16 * MIB)) for _ in range(5)) + packer.flush()
    path.write_bytes(packed)
    with pytest.raises(BadInput, match="far more than its header says"):
        read_scan(path)


SECRETS = [
    "../secret/other.ome.tif", "{absolute}", "C:\\secret\\x.tif", "C:x.tif", "\\\\host\\share\\x.tif",
]  # fmt: skip


def planes_of(*files: str) -> str:
    """OME metadata of a time series with one plane in each file."""
    return "".join(
        f'<TiffData FirstT="{t}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{file}">urn:uuid:{t}</UUID></TiffData>'
        for t, file in enumerate(files)
    )


@BOTH
@pytest.mark.parametrize("name", SECRETS)
def test_a_tiff_opens_no_file_outside_its_folder(
    name: str, read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "images"
    secret.mkdir()
    folder.mkdir()
    tifffile.imwrite(secret / "other.ome.tif", np.full((4, 4), 77, np.uint8), metadata=None)
    name = name.format(absolute=secret / "other.ome.tif")
    path = ome(folder, 'SizeT="2"', planes_of("a.ome.tif", name))
    opened: list[str] = []
    open_file = tifffile.FileHandle.open

    def watch(handle: tifffile.FileHandle) -> None:
        open_file(handle)
        opened.append(str(handle.path))

    monkeypatch.setattr(tifffile.FileHandle, "open", watch)
    with pytest.raises(BadInput, match="outside its folder"):
        read(path)
    assert set(opened) <= {str(path)}


def test_planes_in_a_second_file_of_the_folder_are_read(tmp_path: Path) -> None:
    path = ome(tmp_path, 'SizeT="2"', planes_of("a.ome.tif", "b.ome.tif"))
    tifffile.imwrite(tmp_path / "b.ome.tif", np.full((4, 4), 7, np.uint8), metadata=None)
    assert [int(plane.max()) for plane in read_scan(path).array] == [0, 7]


@pytest.mark.parametrize(
    ("header", "name"), [("mhd", "../s.raw"), ("mhd", "C:s.raw"), ("nhdr", "../s.raw"), ("nhdr", "C:s.raw")]
)
def test_a_detached_header_names_no_file_outside_its_folder(header: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for place in (tmp_path / "s.raw", folder / "C:s.raw"):
        place.write_bytes(bytes(16))
    text = {
        "mhd": f"NDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\nElementDataFile = {name}\n",
        "nhdr": f"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 4 4\nencoding: raw\ndata file: {name}\n\n",
    }
    path = folder / f"a.{header}"
    path.write_text(text[header])
    with pytest.raises(BadInput, match="outside its folder"):
        read_scan(path)


def test_a_pattern_of_file_names_has_no_endless_numbers(tmp_path: Path) -> None:
    header = "NDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\nElementDataFile = a%999999999d.raw 1 1 1\n"
    (tmp_path / "a.mhd").write_text(header)
    with pytest.raises(BadInput, match="needs"):
        read_scan(tmp_path / "a.mhd")


def test_a_zip_bomb_of_dicom_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(128) + b"DICM" + bytes(100 * MIB))
    with pytest.raises(BadInput, match="unpacks to more than is safe"):
        list_series(path)


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-ls", "jpeg2000"])
def test_the_size_of_a_stream_is_read_from_its_header(kind: str) -> None:
    assert stream_pixels(stream(kind, 300)) == 300 * 300


@pytest.mark.parametrize("head", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0", b"\xff\x4f\xff\x51", b"\x00" * 4096])
def test_what_is_no_stream_claims_nothing(head: bytes) -> None:
    assert stream_pixels(head) == 0
