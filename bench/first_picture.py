"""Time until napari shows the first slice of a scan, and how long its window does not respond meanwhile.

    tools/display.sh run python bench/first_picture.py [--slices 300] [--size 512] [--runs 3] [--json FILE]

Synthetic 12-bit scans are written to a temporary folder: a DICOM series of 300 files as a folder and as a
zip file, the same volume as .nii.gz, and as OME-Zarr. Each is opened in a new napari as drag and drop does
it, with nothing of this plugin imported before. The first slice is shown when the canvas has painted the
layer. The longest time without response is measured with a timer of 2 ms. "napari alone" adds the same
values from memory as a plain layer, in a new napari too. Scrolling steps through 60 slices, one in each turn
of the event loop, directly after the first slice and again 8 s later, when the volume is in memory. All
figures are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

HERE = Path(__file__).resolve().parent  # where the child finds event_loop
CHILD = """
import json, sys, time
import numpy as np
import napari
from event_loop import Holds, rest, wait_for
from qtpy.QtCore import QTimer

path, shape = sys.argv[1], json.loads(sys.argv[2])
viewer = napari.Viewer()
rest(1.5)
painted = []
def on_draw(event):
    if viewer.layers and viewer.layers[0].visible:
        painted.append(time.perf_counter())
viewer.window._qt_viewer.canvas._scene_canvas.events.draw.connect(on_draw, position="last")
plain = path == "plain"
if plain:
    values = np.random.default_rng(0).integers(-1024, 3072, shape).astype(np.int16)
begun = []
def go():
    begun.append(time.perf_counter())
    viewer.add_image(values) if plain else viewer.open(path, plugin="napari-latentseg")
with Holds() as opening:
    QTimer.singleShot(10, go)
    wait_for(lambda: painted)
    rest(0.1)
first = painted[0] - begun[0]
def scroll():
    with Holds() as held:
        for step in range(0, shape[0], max(1, shape[0] // 60)):
            viewer.dims.set_current_step(0, step)
            rest(0.01)
    return held.worst
at_once = scroll()
assert viewer.screenshot(flash=False)[..., :3].max() > 50, "nothing is to be seen"
rest(8.0)
later = scroll()
viewer.close()
print(json.dumps({"first picture, s": first, "longest hold while opening, s": opening.worst,
                  "while scrolling at once, s": at_once, "while scrolling later, s": later}))
"""


def make_dicom(folder: Path, volume: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir()
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for number, z in enumerate(rng.permutation(len(volume))):
        ds = pydicom.Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = series, study, frame
        ds.Modality, ds.InstanceNumber = "CT", number + 1
        ds.Rows, ds.Columns = volume.shape[1:]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
        ds.PixelSpacing, ds.ImageOrientationPatient = [0.7, 0.7], [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [0, 0, int(z)]
        ds.PixelData = (volume[z] + 1024).astype(np.uint16).tobytes()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)


def make(folder: Path, volume: np.ndarray) -> dict[str, str]:
    import nibabel as nib

    from napari_latentseg.core.geometry import Geometry
    from napari_latentseg.io import ome_zarr

    made = {"DICOM folder": folder / "ct", "DICOM zip": folder / "ct.zip",
            "NIfTI, .nii.gz": folder / "ct.nii.gz", "OME-Zarr": folder / "ct.zarr"}  # fmt: skip
    make_dicom(made["DICOM folder"], volume)
    with zipfile.ZipFile(made["DICOM zip"], "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for file in sorted(made["DICOM folder"].iterdir()):
            packed.write(file, file.name)
    nib.save(nib.Nifti1Image(volume.T, np.diag([0.7, 0.7, 1, 1])), made["NIfTI, .nii.gz"])
    ome_zarr.write(made["OME-Zarr"], volume, "zyx", Geometry.from_spacing("zyx", (1.0, 0.7, 0.7), "mm"), {})
    return {name: str(path) for name, path in made.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", help="one of the scans, by the start of its name")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    shape = (options.slices, options.size, options.size)
    volume = np.random.default_rng(0).integers(-1024, 3072, shape, dtype=np.int16)
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        made = {"napari alone": "plain", **make(Path(folder), volume)}
        for name, path in made.items():
            if options.only and not name.startswith((options.only, "napari")):
                continue
            command = [sys.executable, "-c", CHILD, path, json.dumps(shape)]
            runs = []
            for _ in range(options.runs):
                found = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
                if found.returncode:
                    sys.exit(found.stderr)
                runs.append(json.loads(found.stdout.splitlines()[-1]))
            figures[name] = {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}
            print(name, json.dumps(figures[name]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
