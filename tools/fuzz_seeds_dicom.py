"""Small whole DICOM files: scans, and what lies beside scans; tools/fuzz.py damages them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz_seed import Seed, folder_of, volume


def dicom_slice(array: Any, **changes: Any) -> Any:
    """A data set with a position in the patient."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian

    colours = array.ndim > 2 and array.shape[-1] == 3
    fields: dict[str, Any] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "SOPInstanceUID": "1.2.3.4", "StudyInstanceUID": "1.2.5",
        "SeriesInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "Modality": "MR", "SeriesNumber": 3,
        "InstanceNumber": 1, "Rows": array.shape[-3 if colours else -2],
        "Columns": array.shape[-2 if colours else -1], "SamplesPerPixel": 3 if colours else 1,
        "PhotometricInterpretation": "RGB" if colours else "MONOCHROME2",
        "BitsAllocated": array.dtype.itemsize * 8,
        "BitsStored": array.dtype.itemsize * 8, "HighBit": array.dtype.itemsize * 8 - 1,
        "PixelRepresentation": int(array.dtype.kind == "i"), "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1], "SliceThickness": 1,
    }  # fmt: skip
    if colours:
        fields["PlanarConfiguration"] = 0
    ds = pydicom.Dataset()
    for keyword, value in (fields | changes).items():
        setattr(ds, keyword, value)
    ds.PixelData = array.tobytes() + b"\0" * (array.nbytes % 2)
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def _enhanced() -> Any:
    import pydicom

    groups = []
    for z in range(4):
        position, group = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = [0, 0, 2 * z]
        group.PlanePositionSequence = [position]
        groups.append(group)
    return dicom_slice(
        volume("uint16", (4, 16, 12)), NumberOfFrames=4, PerFrameFunctionalGroupsSequence=groups
    )


def scans(root: Path) -> list[Seed]:
    import imagecodecs
    import pydicom
    from pydicom import uid
    from pydicom.encaps import encapsulate

    plane, bytes_plane = volume("int16", (32, 24)), volume("uint8", (32, 24))
    writers: dict[str, Callable[[], Any]] = {
        "plain.dcm": lambda: dicom_slice(plane, RescaleSlope=2, RescaleIntercept=-1000),
        "colour.dcm": lambda: dicom_slice(volume("uint8", (16, 12, 3))),
        "inverted.dcm": lambda: dicom_slice(bytes_plane, PhotometricInterpretation="MONOCHROME1"),
        "enhanced.dcm": _enhanced,
        "cine.dcm": lambda: dicom_slice(volume("uint8", (5, 16, 12)), NumberOfFrames=5, FrameTime=40),
        "rle.dcm": lambda: _compressed(dicom_slice(plane), uid.RLELossless),
        "rle-frames.dcm": lambda: _compressed(
            dicom_slice(volume("uint16", (4, 16, 12)), NumberOfFrames=4), uid.RLELossless
        ),
        "j2k.dcm": lambda: dicom_slice(plane.astype("uint16")),
        "implicit.dcm": lambda: dicom_slice(plane),
        "big.dcm": lambda: dicom_slice(plane),
        "deflated.dcm": lambda: dicom_slice(plane),
        "jpeg.dcm": lambda: dicom_slice(bytes_plane),
    }
    syntaxes = {"implicit.dcm": uid.ImplicitVRLittleEndian,
                "deflated.dcm": uid.DeflatedExplicitVRLittleEndian,
                "big.dcm": uid.ExplicitVRBigEndian}  # fmt: skip
    encoders = {
        "jpeg.dcm": (uid.JPEGBaseline8Bit, imagecodecs.jpeg8_encode),
        "j2k.dcm": (
            uid.JPEG2000Lossless,
            lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", level=0),
        ),
    }
    for name, make in writers.items():
        ds = make()
        if name in encoders:
            syntax, encode = encoders[name]
            ds.PixelData = encapsulate([encode(ds.pixel_array)])
            ds.file_meta.TransferSyntaxUID = syntax
            ds["PixelData"].is_undefined_length = True
        if name in syntaxes:
            ds.file_meta.TransferSyntaxUID = syntaxes[name]
        pydicom.dcmwrite(folder_of(root, name) / name, ds, enforce_file_format=True)
    series = folder_of(root, "series")
    for z in range(3):
        ds = dicom_slice(
            plane, ImagePositionPatient=[0, 0, 2 * z], InstanceNumber=z + 1, SOPInstanceUID=f"1.2.9.{z}"
        )
        pydicom.dcmwrite(series / f"{z}.dcm", ds, enforce_file_format=True)
    with zipfile.ZipFile(folder_of(root, "series.zip") / "series.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(series.iterdir()):
            archive.writestr(zipfile.ZipInfo(f"a/{file.name}"), file.read_bytes())
    return [*(Seed(name, "image", name) for name in (*writers, "series.zip")), Seed("series", "image")]


def other_objects(root: Path) -> list[Seed]:
    """What lies beside scans and is none, and a map of real numbers, which is read."""
    import highdicom as hd
    import numpy as np
    import pydicom
    from pydicom import uid
    from pydicom.sr.codedict import codes

    plane = volume("int16", (16, 12))
    patient = {
        "PatientID": "p", "PatientName": "A^B", "PatientBirthDate": "", "PatientSex": "", "StudyDate": "",
        "StudyTime": "", "StudyID": "", "AccessionNumber": "", "ReferringPhysicianName": "",
    }  # fmt: skip
    source = []
    for z in range(3):
        ds = dicom_slice(
            plane, **patient, ImagePositionPatient=[0, 0, 2 * z], InstanceNumber=z + 1,
            SOPInstanceUID=f"1.2.9.{z}",
        )  # fmt: skip
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        source.append(ds)
    common: dict[str, Any] = {
        "series_instance_uid": "1.2.7", "series_number": 7, "sop_instance_uid": "1.2.8", "instance_number": 1,
        "manufacturer": "m", "manufacturer_model_name": "n", "software_versions": "1",
        "device_serial_number": "1",
    }  # fmt: skip
    algorithm = hd.AlgorithmIdentificationSequence("a", codes.DCM.ArtificialIntelligence, "1")
    described = [
        hd.seg.SegmentDescription(
            n,
            f"part {n}",
            codes.SCT.Tissue,
            codes.SCT.Tissue,
            "AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for n in (1, 2)
    ]
    labels = (volume("uint8", (3, 16, 12)) % 3).astype(np.uint8)
    objects = {
        f"{kind.lower()}-seg.dcm": hd.seg.Segmentation(
            source_images=source, pixel_array=labels, segmentation_type=kind, segment_descriptions=described,
            **common,
        )
        for kind in ("BINARY", "LABELMAP")
    }  # fmt: skip
    mapping = hd.pm.RealWorldValueMapping("v", "variance", codes.UCUM.NoUnits, (0.0, 1.0), 0, 1)
    objects["map.dcm"] = hd.pm.ParametricMap(
        source_images=source, pixel_array=labels.astype(np.float32), real_world_value_mappings=[mapping],
        contains_recognizable_visual_features=False, content_label="V",
        voi_lut_transformations=[hd.VOILUTTransformation(1, 2)], **common,
    )  # fmt: skip
    objects["contours.dcm"] = _contours(uid.generate_uid(entropy_srcs=["contours"]))
    for name, ds in objects.items():
        pydicom.dcmwrite(folder_of(root, name) / name, ds, enforce_file_format=True)
    return [Seed(name, "image", name, is_refused=name != "map.dcm") for name in objects]


def _contours(instance: str) -> Any:
    """A structure set of radiotherapy: a triangle."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

    contour, region, roi, ds = (pydicom.Dataset() for _ in range(4))
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 3
    contour.ContourData = [0, 0, 0, 5, 0, 0, 0, 5, 0]
    region.ROIDisplayColor, region.ReferencedROINumber, region.ContourSequence = [255, 0, 0], 1, [contour]
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, "part", "1.2.4"
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = RTStructureSetStorage, instance, "RTSTRUCT"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientID = "1.2.5", "1.2.6", "p"
    ds.StructureSetROISequence, ds.ROIContourSequence = [roi], [region]
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, instance
    return ds


def _compressed(ds: Any, syntax: Any) -> Any:
    ds.compress(syntax)
    return ds
