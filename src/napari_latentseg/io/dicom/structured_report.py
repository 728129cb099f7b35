"""Sizes and their intervals as a structured report of DICOM (TID 1500), beside the mask that they are of.

The interval is given twice: as the measurement uncertainty that the standard knows (TID 310), above and below
the value, and as its two ends, each a measurement of its own, which readers show without further knowledge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import read_errors, write_errors
from napari_latentseg.io.dicom.files import silence_dicom_loggers
from napari_latentseg.io.dicom.seg import long_string

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["REPORT_NAME", "ReportedVolume", "write_structured_report"]

REPORT_NAME = "sizes.dcm"
"""The name of the structured report, after the prefix of the result."""

_SCHEME = "99LATENTSEG"  # private: no standard scheme has codes for the ends of an interval
_NUMBER = 8  # after the series of the mask, which is the first of a result
_MAX_MEANING_LENGTH = 64  # characters of a code's meaning (LO)


@dataclass(frozen=True)
class ReportedVolume:
    """The volume of one class.

    Attributes
    ----------
    name
        Of the class, as the segment is called.
    ml
        The volume in millilitres.
    low_ml, high_ml
        The ends of its interval; None without one.
    basis
        What the interval rests on, in words, such as ``"90 % interval, calibrated"``.
    includes
        Names of the classes that are parts of it and are counted, which have segments of their own.
    """

    name: str
    ml: float
    low_ml: float | None = None
    high_ml: float | None = None
    basis: str = ""
    includes: tuple[str, ...] = ()


def write_structured_report(path: Path, mask_file: Path, volumes: Sequence[ReportedVolume]) -> None:
    """Write the volumes of a mask; patient, study and references are those of the mask's file.

    Parameters
    ----------
    path
        The file to write.
    mask_file
        The mask of the result as DICOM-SEG; segments are found by the names of the classes.
    volumes
        One for each class.

    Raises
    ------
    BadInput
        If the mask cannot be read, lacks one of the classes, or the report cannot be written.
    """
    import pydicom
    from highdicom import UID
    from highdicom.sr import (
        Comprehensive3DSR,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes

    with silence_dicom_loggers():
        with read_errors(Path(mask_file.name), "a DICOM file"):
            mask = pydicom.dcmread(mask_file, stop_before_pixels=True)
        segments = {str(item.SegmentLabel): item for item in mask.SegmentSequence}
        if len(segments) < len(mask.SegmentSequence):
            why = "has two classes of one name, as far as DICOM keeps it"
            raise BadInput(mask_file.name, why, "give them names that differ in the first 64 characters")
        for volume in volumes:
            if long_string(volume.name) not in segments:
                raise BadInput(mask_file.name, "lacks a class that was measured", "write the result again")
        device = DeviceObserverIdentifyingAttributes(
            uid=UID(), manufacturer_name=mask.Manufacturer, model_name=mask.ManufacturerModelName
        )
        with write_errors(path, (".dcm",), "DICOM"):
            content = MeasurementReport(
                ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
                procedure_reported=_concept("363679005", "SCT", "Imaging procedure"),
                imaging_measurements=[
                    _measurements(mask, segments[long_string(volume.name)], volume) for volume in volumes
                ],
                title=codes.DCM.ImagingMeasurementReport,
            )
            dataset: Any = Comprehensive3DSR(
                evidence=[mask, *_segmented_images(mask)],
                content=content,
                series_instance_uid=UID(),
                series_number=int(mask.SeriesNumber) + _NUMBER,
                sop_instance_uid=UID(),
                instance_number=1,
                manufacturer=mask.Manufacturer,
                is_complete=True,
                is_final=False,
                series_description=f"{mask.ManufacturerModelName} sizes"[:_MAX_MEANING_LENGTH],
            )
            if mask.get("PatientIdentityRemoved") == "YES":
                dataset.PatientIdentityRemoved = "YES"
                dataset.DeidentificationMethod = mask.DeidentificationMethod
            dataset.save_as(path, enforce_file_format=True)


def _measurements(mask: Dataset, segment: Any, volume: ReportedVolume) -> Any:
    """The volume of one segment, the ends of its interval, and the segment itself."""
    from highdicom import UID
    from highdicom.sr import (
        AlgorithmIdentification,
        MeasurementProperties,
        ReferencedSegment,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )
    from pydicom.sr.codedict import codes

    low, high, properties = volume.low_ml, volume.high_ml, None
    named: list[tuple[Any, float, Any]] = []
    if low is not None and high is not None:
        if low <= volume.ml <= high:  # the mask of a person may lie outside the interval of the model
            properties = MeasurementProperties(
                upper_measurement_uncertainty=_rounded(high - volume.ml),
                lower_measurement_uncertainty=_rounded(volume.ml - low),
            )
        named = [
            (_concept("volume-low", _SCHEME, "Lower end of the 90 % interval of the volume"), low, None),
            (_concept("volume-high", _SCHEME, "Upper end of the 90 % interval of the volume"), high, None),
        ]
    method = _concept("interval-basis", _SCHEME, volume.basis) if volume.basis else None
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    category = segment.SegmentedPropertyCategoryCodeSequence[0]
    algorithms = segment.get("SegmentationAlgorithmIdentificationSequence")
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(
            uid=UID(), identifier=" with ".join(filter(None, (volume.name, ", ".join(volume.includes))))
        ),
        # not `from_segmentation`, which knows no label maps
        referenced_segment=ReferencedSegment(
            mask.SOPClassUID,
            mask.SOPInstanceUID,
            int(segment.SegmentNumber),
            source_series=SourceSeriesForSegmentation(mask.ReferencedSeriesSequence[0].SeriesInstanceUID),
        ),
        finding_type=_concept(kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning),
        finding_category=_concept(category.CodeValue, category.CodingSchemeDesignator, category.CodeMeaning),
        algorithm_id=AlgorithmIdentification(algorithms[0].AlgorithmName, algorithms[0].AlgorithmVersion)
        if algorithms
        else None,
        measurements=[
            _measurement(*each, method) for each in [(codes.SCT.Volume, volume.ml, properties), *named]
        ],
    )


def _measurement(name: Any, ml: float, properties: Any, method: Any) -> Any:
    from highdicom.sr import Measurement

    unit = _concept("mL", "UCUM", "milliliter")
    return Measurement(name, _rounded(ml), unit, method=method, properties=properties)


def _segmented_images(mask: Dataset) -> list[Dataset]:
    """The images that the mask refers to, as far as a reference needs them."""
    from pydicom import Dataset

    images = []
    for series in mask.ReferencedSeriesSequence:
        for instance in series.ReferencedInstanceSequence:
            image = Dataset()
            image.SOPClassUID = instance.ReferencedSOPClassUID
            image.SOPInstanceUID = instance.ReferencedSOPInstanceUID
            image.StudyInstanceUID = mask.StudyInstanceUID
            image.SeriesInstanceUID = series.SeriesInstanceUID
            images.append(image)
    return images


def _rounded(ml: float) -> float:
    """To a thousandth of a cubic millimetre, which a decimal string of DICOM (16 characters) can hold."""
    return round(float(ml), 6)


def _concept(value: str, scheme: str, meaning: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value, scheme, meaning[:_MAX_MEANING_LENGTH])
