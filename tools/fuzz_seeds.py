"""Small whole files of every kind that the package reads; tools/fuzz.py damages them.

Images are written here, by the package and by other libraries. All else (models, a codec, a store of approved
masks, results) is what an earlier version wrote: tests/legacy/made.tar.xz.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz_seed import Seed, folder_of, volume
from fuzz_seeds_dicom import other_objects, scans

LEGACY = Path(__file__).resolve().parent.parent / "tests" / "legacy" / "made.tar.xz"


def make_seeds(root: Path) -> list[Seed]:
    """Write all seeds, a folder each."""
    seeds = []
    for make in (_nifti, _other_volumes, _tiff, _photos, _zarr, scans, other_objects, _masks, _records):
        seeds += make(root)
    return seeds


def write_home(home: Path) -> None:
    """The user's folder, with the codec that the models need."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(LEGACY) as archive:
        archive.extractall(folder, filter="data")
        shutil.copytree(Path(folder) / "home" / "codecs", home / "codecs")


def _nifti(root: Path) -> list[Seed]:
    import nibabel as nib
    import numpy as np

    affine = np.array([[0.5, 0.1, 0, -9], [-0.1, 0.5, 0, 4], [0, 0, 3, 7], [0, 0, 0, 1]])
    rgb = np.zeros((8, 6, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    images: dict[str, Any] = {
        "plain.nii": nib.Nifti1Image(volume().T, affine),
        "packed.nii.gz": nib.Nifti1Image(volume("float32").T, affine),
        "second.nii": nib.Nifti2Image(volume("uint8").T, affine),
        "colour.nii": nib.Nifti1Image(rgb, affine),
        "series.nii.gz": nib.Nifti1Image(volume("uint8", (3, 4, 8, 6)).T, affine),
        "pair.img": nib.Nifti1Pair(volume().T, affine),
        "analyze.img": nib.AnalyzeImage(volume().T, np.diag([2, 2, 3, 1])),
        "plain.mgh": nib.MGHImage(volume("float32").T, affine),
        "packed.mgz": nib.MGHImage(volume("uint8").T, affine),
    }
    images["plain.nii"].header.set_slope_inter(2.5, -10)
    images["second.nii"].header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a comment"))
    for name, image in images.items():
        nib.save(image, folder_of(root, name) / name)
    return [Seed(name, "image", name) for name in images]


def _other_volumes(root: Path) -> list[Seed]:
    import bz2

    import nrrd

    from napari_latentseg.core.geometry import Geometry
    from napari_latentseg.io import metaimage

    seeds = []
    geometry = Geometry.from_spacing("zyx", (3.0, 0.5, 0.5), "mm")
    for name in ("packed.mha", "split.mhd"):
        metaimage.write(folder_of(root, name) / name, volume(), "zyx", geometry, {})
        seeds.append(Seed(name, "image", name))
    header = "NDims = 3\nDimSize = 12 16 6\nElementType = MET_SHORT\nElementSpacing = 0.5 0.5 3\n"
    (folder_of(root, "raw.mha") / "raw.mha").write_bytes(
        f"{header}ElementDataFile = LOCAL\n".encode() + volume().tobytes()
    )
    files = folder_of(root, "list.mhd")
    (files / "list.mhd").write_text(
        header + "ElementDataFile = LIST\n" + "".join(f"s{i}.raw\n" for i in range(6))
    )
    for i, plane in enumerate(volume()):
        (files / f"s{i}.raw").write_bytes(plane.tobytes())
    for encoding in ("raw", "gzip", "bzip2", "ascii"):
        name = f"{encoding}.nrrd"
        nrrd.write(
            str(folder_of(root, name) / name), volume().T, {"encoding": encoding, "spacings": [0.5, 0.5, 3]}
        )
        seeds.append(Seed(name, "image", name))
    text = "NRRD0005\ntype: int16\ndimension: 3\nspace: left-posterior-superior\nsizes: 12 16 6\n"
    text += "endian: little\nspace directions: (0.5,0,0) (0,0.5,0) (0,0,3)\n"
    text += "kinds: domain domain domain\nencoding: bzip2\n"
    files = folder_of(root, "split.nhdr")
    (files / "split.nhdr").write_text(f"{text}data file: split.raw.bz2\n")
    (files / "split.raw.bz2").write_bytes(bz2.compress(volume().tobytes()))
    return [*seeds, *(Seed(name, "image", name) for name in ("raw.mha", "list.mhd", "split.nhdr"))]


def _tiff(root: Path) -> list[Seed]:
    import numpy as np
    import tifffile

    from napari_latentseg.core.geometry import Geometry
    from napari_latentseg.io import tiff

    grey, colours = volume("uint8", (64, 64)), volume("uint8", (32, 32, 3))
    palette = np.arange(768, dtype=np.uint16).reshape(3, 256) * 80
    writers: dict[str, tuple[Any, dict[str, Any]]] = {
        "stack.tif": (volume("uint16"), {"photometric": "minisblack"}),
        "zlib-tiles.tif": (grey, {"tile": (16, 16), "compression": "zlib"}),
        "lzw.tif": (grey, {"compression": "lzw", "predictor": True}),
        "packbits.tif": (grey, {"compression": "packbits"}),
        "jpeg.tif": (colours, {"compression": "jpeg", "photometric": "ycbcr", "tile": (16, 16)}),
        "zstd.tif": (grey, {"compression": "zstd"}),
        "j2k.tif": (grey, {"compression": "jpeg2000"}),
        "palette.tif": (grey, {"photometric": "palette", "colormap": palette}),
        "imagej.tif": (volume("uint16", (2, 3, 16, 12)), {"imagej": True, "metadata": {"axes": "TZYX"}}),
        "big.tif": (colours, {"bigtiff": True, "photometric": "rgb"}),
    }  # fmt: skip
    for name, (array, options) in writers.items():
        tifffile.imwrite(folder_of(root, name) / name, array, **options)
    geometry = Geometry.from_spacing("tzyx", (1.0, 3.0, 0.5, 0.5))
    tiff.write(
        folder_of(root, "ome.ome.tif") / "ome.ome.tif", volume("uint8", (2, 3, 16, 12)), "tzyx", geometry, {}
    )
    with tifffile.TiffWriter(folder_of(root, "pyramid.ome.tif") / "pyramid.ome.tif", ome=True) as writer:
        options = {"tile": (16, 16), "compression": "zlib"}
        writer.write(
            grey, subifds=2, metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}, **options
        )
        writer.write(grey[::2, ::2], subfiletype=1, **options)
        writer.write(grey[::4, ::4], subfiletype=1, **options)
    return [Seed(name, "image", name) for name in (*writers, "ome.ome.tif", "pyramid.ome.tif")]


def _photos(root: Path) -> list[Seed]:
    import numpy as np
    from PIL import Image

    grey = Image.fromarray(volume("uint8", (24, 20)))
    colours = Image.fromarray(volume("uint8", (24, 20, 3)))
    images = {
        "grey.png": grey, "grey16.png": Image.fromarray(volume("uint16", (24, 20))),
        "palette.png": colours.quantize(16), "alpha.png": colours.convert("RGBA"),
        "bits.png": Image.fromarray(np.asarray(grey) > 100), "colour.jpg": colours,
        "progressive.jpg": colours, "cmyk.jpg": colours.convert("CMYK"), "grey.bmp": grey,
        "colour.bmp": colours,
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, image in images.items():
        extra: dict[str, Any] = {"progressive": True} if name.startswith("progressive") else {}
        image.save(folder_of(root, name) / name, **({"exif": exif} if name == "colour.jpg" else extra))
    return [Seed(name, "image", name) for name in images]


def _zarr(root: Path) -> list[Seed]:
    import json

    import numpy as np
    import zarr

    from napari_latentseg.core.geometry import Geometry
    from napari_latentseg.io import ome_zarr

    geometry = Geometry.from_spacing("zyx", (3.0, 0.5, 0.5), "mm")
    ome_zarr.write(folder_of(root, "v05.ome.zarr") / "v05.ome.zarr", volume(), "zyx", geometry, {})
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [3.0, 0.5, 0.5]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    multiscales = {"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}]}
    compressors: dict[str, Any] = {"blosc": "auto", "plain": None, "gzip": _gzip_codec()}
    seeds = [Seed("v05.ome.zarr", "image", "v05.ome.zarr")]
    for name, compressor in compressors.items():
        path = folder_of(root, f"{name}.zarr") / f"{name}.zarr"
        group = zarr.open_group(path, mode="w", zarr_format=2)
        stored = group.create_array(
            "0", shape=(6, 16, 12), chunks=(2, 16, 12), dtype="i2", compressors=compressor
        )
        stored[:] = volume()
        group.attrs.update(json.loads(json.dumps(multiscales)))
        seeds.append(Seed(f"{name}.zarr", "image", f"{name}.zarr"))
    source = root / "v05.ome.zarr" / "v05.ome.zarr"
    with zipfile.ZipFile(folder_of(root, "zipped.zarr.zip") / "zipped.zarr.zip", "w") as archive:
        for file in sorted(source.rglob("*")):
            if file.is_file():
                archive.writestr(zipfile.ZipInfo(f"a.ome.zarr/{file.relative_to(source)}"), file.read_bytes())
    assert np.asarray(volume()).any()
    return [*seeds, Seed("zipped.zarr.zip", "image", "zipped.zarr.zip")]


def _gzip_codec() -> Any:
    from numcodecs import GZip

    return GZip()


def _masks(root: Path) -> list[Seed]:
    """Labels in the formats that masks come in."""
    import nibabel as nib
    import nrrd
    import numpy as np
    import tifffile
    from PIL import Image

    labels = (volume("uint8", (4, 16, 12)) % 3).astype(np.uint8)
    writers: dict[str, Callable[[Path], Any]] = {
        "mask.nii.gz": lambda path: nib.save(nib.Nifti1Image(labels.T, np.diag([1, 1, 3, 1])), path),
        "mask.nrrd": lambda path: nrrd.write(str(path), labels.T, {"spacings": [1, 1, 3]}),
        "mask.tif": lambda path: tifffile.imwrite(path, labels, photometric="minisblack"),
        "mask.png": lambda path: Image.fromarray(labels[0]).save(path),
        "mask.jpg": lambda path: Image.fromarray(255 * (labels[0] > 0).astype(np.uint8)).save(path),
        "mask-colour.png": lambda path: Image.fromarray(np.stack([labels[0] * 127] * 3, -1)).save(path),
    }
    for name, write in writers.items():
        write(folder_of(root, name) / name)
    return [Seed(name, "mask", name) for name in writers]


def _records(root: Path) -> list[Seed]:
    made = folder_of(root, "made")
    with tarfile.open(LEGACY) as archive:
        archive.extractall(made, filter="data")
    home = made / "home"
    for name, source in {
        "model": home / "models" / "ellipses", "candidate": home / "candidates" / "ellipses-waiting",
        "codec": home / "codecs" / "tiny-codec", "store": home / "annotations" / "ellipses",
        "photo-result": made / "results" / "photo", "volume-result": made / "results" / "volume",
        "pairs": made / "data",
    }.items():  # fmt: skip
        shutil.copytree(source, root / name)
    model = root / "model"
    with zipfile.ZipFile(folder_of(root, "model.zip") / "model.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in sorted(model.iterdir()):
            zipped.writestr(zipfile.ZipInfo(f"ellipses/{file.name}"), file.read_bytes())
    return [
        Seed("model", "model"), Seed("candidate", "model"), Seed("codec", "codec"), Seed("store", "store"),
        Seed("photo-result", "result"), Seed("volume-result", "result"), Seed("pairs", "pairs"),
        Seed("model.zip", "archive", "model.zip"), *_configs(root),
    ]  # fmt: skip


def _configs(root: Path) -> list[Seed]:
    from napari_latentseg.training.config_files import named_configs

    seeds = []
    for name in ("gms-small", "sdseg-small", "guided-small"):
        shutil.copy(named_configs()[name], folder_of(root, f"config-{name}") / "config.json")
        seeds.append(Seed(f"config-{name}", "config", "config.json"))
    return seeds
