"""How long a folder of 300 slices takes to its first picture, and to all of them.

python bench/dicom_first_picture.py [--slices 300] [--size 512] [--runs 5] [--json FILE]

A made series of 12-bit values (uncompressed, in a folder of its own that is removed again) is read by a new
process each time, so that the time of importing everything is in it; the middle slice is the first picture.
The files are in the system's cache, as they are after copying. Medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

CHILD = """
import time; start = time.perf_counter()
import json, sys
from pathlib import Path
import numpy as np
from napari_latentseg.formats import read_scan
scan = read_scan(Path(sys.argv[1]))
np.asarray(scan.array[len(scan.array) // 2])
first = time.perf_counter() - start
busy = time.process_time()
np.asarray(scan.array)
whole = time.perf_counter() - start
print(json.dumps({"first picture, s": first, "of that busy, s": busy, "all pictures, s": whole}))
"""


def make(folder: Path, slices: int, size: int) -> None:
    rng = np.random.default_rng(0)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for number, z in enumerate(rng.permutation(slices)):
        ds = pydicom.Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = series, study, frame
        ds.Modality, ds.InstanceNumber = "CT", number + 1
        ds.Rows = ds.Columns = size
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
        ds.PixelSpacing, ds.ImageOrientationPatient = [0.7, 0.7], [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [0, 0, int(z)]
        ds.PixelData = rng.integers(0, 4096, (size, size), dtype=np.uint16).tobytes()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.slices, options.size)
        command = [sys.executable, "-c", CHILD, folder]
        runs = [
            json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for _ in range(options.runs)
        ]
    figures = {key: round(statistics.median(run[key] for run in runs), 2) for key in runs[0]}
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
