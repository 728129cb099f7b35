"""Write results as DICOM: mask and mean as segmentations, variance and doubt as parametric maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo, Code
from napari_latentseg.core.contours import CONTOUR_SIDES, Contours
from napari_latentseg.core.doubt import MAX_DOUBT
from napari_latentseg.core.person_mask import describe_mask
from napari_latentseg.core.plane_axes import plane_axis_order
from napari_latentseg.core.record import RunRecord
from napari_latentseg.core.segmentation import MAX_VARIANCE, Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import write_errors
from napari_latentseg.io.dicom.files import silence_dicom_loggers
from napari_latentseg.io.dicom.header import MANUFACTURER
from napari_latentseg.io.dicom.source import deidentified, find_source, use_utf8_for
from napari_latentseg.io.image_header import ImageHeader
from napari_latentseg.io.result_names import AGREEMENT_NAME, BAND_NAME, DOUBT_NAME, MAX_FRACTIONAL_VALUE
from napari_latentseg.utils.atomic import atomic_path

if TYPE_CHECKING:
    from pydicom import Dataset

    from napari_latentseg.io.dicom.source import DicomSource

__all__ = ["long_string", "write_dicom_mask", "write_dicom_results"]

_SUFFIX = ".dcm"
_MAX_STRING_LENGTH = 64  # characters of DICOM's long string (LO)
_TISSUE = Code(scheme="SCT", value="85756007", meaning="Tissue")
_ABNORMAL = Code(scheme="SCT", value="49755003", meaning="Morphologically Abnormal Structure")
_LESION = Code(scheme="SCT", value="52988006", meaning="Lesion")
_LESION_WORDS = ("lesion", "tumor", "tumour", "mass", "nodule", "polyp", "metastas", "carcinoma", "cancer")
# label, explanation, largest value and content label (16 characters at most) of each parametric map
_PARAMETRIC_MAPS = {
    "variance": ("VARIANCE", "Variance of the probability of {} over samples", MAX_VARIANCE, "LATENTSEG_VAR"),
    DOUBT_NAME: ("DOUBT", "min(p, 1 - p) of the mean probability of {}", MAX_DOUBT, "LATENTSEG_DOUBT"),
}


def long_string(text: str) -> str:
    """A text as DICOM's long string (LO) holds it, in which a backslash would begin another value."""
    return text.replace("\\", "/")[:_MAX_STRING_LENGTH].strip()


def write_dicom_results(
    segmentation: Segmentation,
    folder: Path,
    name_prefix: str,
    class_suffixes: Sequence[str],
    *,
    agreement: NDArray[np.uint8] | NDArray[np.uint16] | None = None,
    band: Contours | None = None,
    doubt: bool = False,
    deidentify: bool = False,
    labelmap: bool = False,
) -> list[Path]:
    """Write a result as DICOM objects that refer to the segmented series.

    `mask` is a binary segmentation with one segment for each class; `mean` a fractional segmentation with
    probabilities in 255 steps; `variance` a float32 parametric map for each class, which a segmentation
    cannot hold (PS3.3, A.51 and A.75). Slices without a prediction have no frame, unless a person has painted
    in them. Segmented slices that are empty are written: some viewers just stack the frames.

    Parameters
    ----------
    segmentation
        Of a DICOM series whose files still exist.
    folder
        Where the files are written.
    name_prefix
        Start of every file name.
    class_suffixes
        Suffix of the variance and doubt files of each class; see
        `napari_latentseg.io.result_names.class_suffixes`.
    agreement
        How many samples assign each voxel to each class, `(K, *spatial)`: `agreement`, a fractional
        segmentation whose largest value is the number of samples, so that its stored values are these counts;
        `MAX_FRACTIONAL_VALUE` samples at most.
    band
        Contours that enclose the true edge: `band`, a binary segmentation with two overlapping segments for
        each class, the regions inside the inner and the outer contour.
    doubt
        Write `Segmentation.doubt` as the variance is.
    deidentify
        Write new UIDs, and nothing that names patient, study or institution.
    labelmap
        Write the mask as a label map segmentation: one value a voxel, and not one frame a segment.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    BadInput
        If the source is not DICOM, has no position in the patient, or has changed or moved.
    """
    with silence_dicom_loggers():
        source = find_source(ImageHeader.of(segmentation))
        headers = deidentified(source.datasets) if deidentify else source.datasets
        use_utf8_for(_texts(segmentation), headers)
        objects = _DicomObjects(segmentation, source, headers, "LABELMAP" if labelmap else "BINARY")
        builders: dict[str, Callable[[], Any]] = {
            "mask": partial(objects.mask, 1),
            "mean": partial(objects.mean, 2),
        }
        if agreement is not None:
            builders[AGREEMENT_NAME] = partial(objects.agreement, 5, agreement)
        if band is not None and band.classes:
            builders[BAND_NAME] = partial(objects.band, 4, band)
        maps = {"variance": segmentation.variance, DOUBT_NAME: segmentation.doubt if doubt else None}
        for number, (kind, values) in zip((3, 6), maps.items(), strict=True):
            for k, class_suffix in enumerate(class_suffixes if values is not None else ()):
                builders[f"{kind}{class_suffix}"] = partial(objects.parametric_map, number, kind, values, k)
        written = []
        for name, build in builders.items():
            path = folder / f"{name_prefix}{name}{_SUFFIX}"
            with write_errors(path, (_SUFFIX,), "DICOM"):
                dataset: Any = build()
                if deidentify:
                    _mark_deidentified(dataset)
                dataset.save_as(path, enforce_file_format=True)
            written.append(path)
        return written


def write_dicom_mask(segmentation: Segmentation, path: Path) -> None:
    """Write the mask alone, as a binary segmentation that refers to the series; see `write_dicom_results`.

    Parameters
    ----------
    segmentation
        Of a DICOM series whose files still exist; or a mask that a person drew on one, see
        `napari_latentseg.core.drawn_mask.drawn_mask`.
    path
        The file; an existing one is replaced.

    Raises
    ------
    BadInput
        As `write_dicom_results`.
    """
    with silence_dicom_loggers(), write_errors(path, (_SUFFIX,), "DICOM"):
        source = find_source(ImageHeader.of(segmentation))
        use_utf8_for(_texts(segmentation), source.datasets)
        dataset = _DicomObjects(segmentation, source, source.datasets).mask(1)
        with atomic_path(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)


@dataclass(frozen=True)
class _DicomObjects:
    segmentation: Segmentation
    source: DicomSource
    source_headers: Sequence[Dataset]
    mask_type: str = "BINARY"

    def mask(self, number: int) -> Any:
        """The classes as segments, numbered from 1 without gaps, as the standard requires."""
        labels = np.zeros(256, dtype=np.uint8)
        classes = self.segmentation.mask_classes
        labels[[info.label for info in classes]] = np.arange(1, len(classes) + 1)
        mask = np.asarray(self.segmentation.mask)  # a large mask is a dask array
        if not set(np.unique(mask)) <= {0, *(info.label for info in classes)}:
            raise BadInput("mask", "holds labels that are not classes of the model", "paint with its classes")
        return self._segmentation(number, labels[mask], self.mask_type, "MASK", self._mask_descriptions())

    def mean(self, number: int) -> Any:
        """The mean probability of each class as a segment."""
        values = np.clip(np.moveaxis(np.asarray(self.segmentation.mean), 0, -1), 0, 1).astype(np.float32)
        descriptions = [
            _segment_description(
                self.segmentation.record, info, k, "AUTOMATIC", "mean probability over the samples"
            )
            for k, info in enumerate(self.segmentation.classes, start=1)
        ]
        return self._segmentation(number, values, "FRACTIONAL", "MEAN", descriptions)

    def agreement(self, number: int, counts: NDArray[np.uint8] | NDArray[np.uint16]) -> Any:
        """How many samples assign a voxel to each class, as a segment in fractions of their number."""
        record = self.segmentation.record
        values = np.moveaxis(counts, 0, -1).astype(np.float32) / record.samples
        what = f"agreement: {record.samples} stands for all {record.samples} samples"
        descriptions = [
            _segment_description(record, info, k, "AUTOMATIC", what)
            for k, info in enumerate(self.segmentation.classes, start=1)
        ]
        return self._segmentation(
            number, values, "FRACTIONAL", "AGREE", descriptions, max_fractional_value=record.samples
        )

    def band(self, number: int, band: Contours) -> Any:
        """The regions inside the inner and the outer contour of each class as segments, which overlap."""
        regions, descriptions = [], []
        for class_contours in band.classes:
            info = self.segmentation.classes[class_contours.class_index]
            for side in CONTOUR_SIDES:
                regions.append(class_contours.region(side))
                # the kind of the contour must not be cut off by a long name
                name = f"{long_string(info.name)[: _MAX_STRING_LENGTH - 24]}, {band.name(side)}"
                descriptions.append(
                    _segment_description(
                        self.segmentation.record,
                        info.replace(name=name, code=_category_and_type(info)[1], includes=()),
                        len(regions),
                        "AUTOMATIC",
                        band.promise,
                    )
                )
        volume = np.stack(regions, axis=-1).astype(np.uint8)
        return self._segmentation(number, volume, "BINARY", "BAND", descriptions)

    def _segmentation(
        self,
        number: int,
        volume: NDArray[Any],
        kind: str,
        label: str,
        descriptions: Sequence[Any],
        *,
        max_fractional_value: int = MAX_FRACTIONAL_VALUE,
    ) -> Any:
        from highdicom.seg import Segmentation as DicomSegmentation

        return DicomSegmentation(
            pixel_array=self.source.to_source_order(volume)[self._has_frame],
            segmentation_type=kind,
            segment_descriptions=descriptions,
            max_fractional_value=max_fractional_value,
            omit_empty_frames=False,
            content_label=f"LATENTSEG_{label}",
            **self._common_attributes(number, label.lower()),
        )

    def _mask_descriptions(self) -> list[Any]:
        """One for each class of the mask, which a person may have changed."""
        record = self.segmentation.record
        model_labels = {info.label for info in self.segmentation.classes}
        by_model = "SEMIAUTOMATIC" if record.mask_edited else "AUTOMATIC"
        return [
            _segment_description(record, info, number, by_model, describe_mask(record))
            if info.label in model_labels
            else _segment_description(record, info, number, "MANUAL", "painted by a person")
            for number, info in enumerate(self.segmentation.mask_classes, start=1)
        ]

    def parametric_map(self, number: int, kind: str, values: Any, k: int) -> Any:
        """The variance or doubt of one class, float32, of `values` `(K, *spatial)`."""
        from highdicom import VOILUTTransformation
        from highdicom.pm import ParametricMap, RealWorldValueMapping
        from pydicom.sr.codedict import codes

        lut_label, explanation, largest, content_label = _PARAMETRIC_MAPS[kind]
        name = self.segmentation.classes[k].name
        mapping = RealWorldValueMapping(
            lut_label=lut_label,
            lut_explanation=long_string(explanation.format(name)),
            unit=codes.UCUM.NoUnits,
            value_range=(0.0, largest),
            slope=1,
            intercept=0,
        )
        window = VOILUTTransformation(largest / 2, largest, voi_lut_function="LINEAR_EXACT")
        plane_values = np.asarray(values[k], np.float32)
        dataset = ParametricMap(
            pixel_array=self.source.to_source_order(plane_values)[self._has_frame],
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping],
            voi_lut_transformations=[window],
            content_label=content_label,
            **self._common_attributes(number * 10 + k, kind),
        )
        dataset.Laterality = ""  # required without a body part
        return dataset

    @cached_property
    def _has_frame(self) -> NDArray[np.bool_]:
        """Which images of the source get a frame: those that were segmented, or painted by a person.

        All of them where the slices were segmented along another axis of the volume, or where the record of
        an earlier version does not say which slices they were.
        """
        segmentation, count = self.segmentation, len(self.segmentation.mask)
        region = segmentation.segmented_region
        order = plane_axis_order(segmentation.geometry, 3, segmentation.record.plane)
        has_frame = np.ones(count, dtype=np.bool_)
        if region.ranges is not None and region.slice_count == count and order[0] == 0:
            painted = np.array([bool(np.any(np.asarray(plane))) for plane in segmentation.mask])
            has_frame = region.slice_flags() | painted
        return self.source.to_source_order(has_frame)

    def _source_attributes(self) -> dict[str, Any]:
        """The images that the frames refer to; of a multiframe file, their positions too."""
        from highdicom import PlanePositionSequence

        if len(self.source_headers) == len(self._has_frame):
            kept = [ds for ds, is_kept in zip(self.source_headers, self._has_frame, strict=True) if is_kept]
            return {"source_images": kept}
        attributes: dict[str, Any] = {"source_images": self.source_headers}
        if not self._has_frame.all():
            groups = self.source_headers[0].PerFrameFunctionalGroupsSequence
            attributes["plane_positions"] = [
                PlanePositionSequence("PATIENT", groups[n].PlanePositionSequence[0].ImagePositionPatient)
                for n in np.flatnonzero(self._has_frame)
            ]
        return attributes

    def _common_attributes(self, number: int, content: str) -> dict[str, Any]:
        from highdicom import UID

        record = self.segmentation.record
        hashes = sorted(record.model.sha256.values())
        base = min(int(self.source_headers[0].get("SeriesNumber") or 0), 20_000) * 100
        region = self.segmentation.segmented_region
        segmented = region.describe() or f"all {region.slice_count} slices"
        cancelled = "; cancelled" if region.is_cancelled else ""
        return {
            **self._source_attributes(),
            "series_instance_uid": UID(),
            "series_number": base + number,
            "sop_instance_uid": UID(),
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": record.model.name[:_MAX_STRING_LENGTH],
            "software_versions": record.plugin_version[:_MAX_STRING_LENGTH] or "0",
            "device_serial_number": hashes[0][:16] if hashes else "unknown",
            "content_description": f"{content}; {segmented} segmented{cancelled}"[:_MAX_STRING_LENGTH],
            "series_description": f"{record.model.name} {content}"[:_MAX_STRING_LENGTH],
            "pixel_measures": self._pixel_measures(),
        }

    def _pixel_measures(self) -> Any:
        from highdicom import PixelMeasuresSequence

        linear = self.segmentation.geometry.matrix[:3, :3]
        _, row_spacing, column_spacing = self.segmentation.geometry.spacing
        normal = np.cross(linear[:, 2], linear[:, 1])
        slice_spacing = abs(float(linear[:, 0] @ normal / np.linalg.norm(normal)))
        thickness = float(self.source_headers[0].get("SliceThickness") or slice_spacing)
        return PixelMeasuresSequence(
            (row_spacing, column_spacing), thickness if thickness > 0 else slice_spacing, slice_spacing
        )


def _segment_description(
    record: RunRecord, info: ClassInfo, number: int, algorithm_type: str, description: str
) -> Any:
    """The description of one segment; `algorithm_type` as in PS3.3, C.8.20.2."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    category, kind = _category_and_type(info)
    red, green, blue = bytes.fromhex(info.color.removeprefix("#"))
    algorithm = None
    if algorithm_type != "MANUAL":
        algorithm = AlgorithmIdentificationSequence(
            name=record.model.name[:_MAX_STRING_LENGTH],
            family=codes.DCM.ArtificialIntelligence,
            version=record.model.version[:_MAX_STRING_LENGTH] or "0",
            source=f"napari-latentseg {record.plugin_version}"[:_MAX_STRING_LENGTH],
        )
    dataset = SegmentDescription(
        segment_number=number,
        segment_label=long_string(info.name),
        segmented_property_category=_to_concept(category),
        segmented_property_type=_to_concept(kind),
        algorithm_type=algorithm_type,
        algorithm_identification=algorithm,
        display_color=CIELabColor.from_rgb(red, green, blue),
    )
    dataset.SegmentDescription = description
    return dataset


def _category_and_type(info: ClassInfo) -> tuple[Code, Code]:
    """Property category and type: from the model card, else guessed from the class name."""
    is_lesion = any(word in info.name.lower() for word in _LESION_WORDS)
    kind = info.code or (_LESION if is_lesion else _TISSUE)
    return info.category or (_ABNORMAL if is_lesion else _TISSUE), kind


def _texts(segmentation: Segmentation) -> list[str]:
    """What the objects say of the classes and the model."""
    infos, model = segmentation.mask_classes, segmentation.record.model
    codes = [code for info in infos for code in (info.code, info.category) if code is not None]
    return [*(info.name for info in infos), *(code.meaning for code in codes), model.name, model.version]


def _to_concept(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _mark_deidentified(dataset: Any) -> None:
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "napari-latentseg: listed attributes kept, UIDs new"
