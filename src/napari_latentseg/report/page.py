"""The values on the page of a report; the layout is in `page.html.j2`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_latentseg.core.percent import percent
from napari_latentseg.core.person_mask import describe_mask
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.measure import INTERVAL_LEVEL, Measurement
from napari_latentseg.measure.measurement import display_unit, format_value
from napari_latentseg.measure.physical_space import PhysicalSpace
from napari_latentseg.report.explanation import curve_points, curve_text, explanation
from napari_latentseg.report.pictures import ImageStrip, Overview
from napari_latentseg.review import MEASURES, Finding, uncertainty_basis
from napari_latentseg.utils.counts import count_text

if TYPE_CHECKING:
    from napari_latentseg.models.card import ModelCard

__all__ = ["page_values"]

# so that the page fits on one sheet of A4; the CSV file has all rows
_MAX_OBJECT_ROWS = 6
_MAX_TIMEPOINTS = 6
_REASON_TEXTS = {
    "boundary": "the boundary is uncertain",
    "presence": "whether it is present is uncertain",
    "volume": "the size is uncertain",
}


def page_values(
    result: Segmentation,
    measurements: Sequence[Measurement],
    strips: Sequence[tuple[Finding, ImageStrip]],
    card: ModelCard | None,
    *,
    overview: Overview | None = None,
    has_image: bool,
    note: str,
) -> dict[str, Any]:
    """What the page shows.

    Parameters
    ----------
    result, measurements, card, note
        See `write_report`.
    strips
        The slices to show with their pictures, the most uncertain first.
    overview
        A whole slice; None where the strips show it.
    has_image
        Whether the pictures show the image, or the mean probability instead.
    """
    rows, left_out = _rows_to_show(measurements, len(result.classes))
    colors = {info.label: info.color for info in result.mask_classes}
    reliability = card.reliability if card is not None else None
    return {
        "title": card.title if card is not None else result.record.model.name,
        "purpose": result.record.purpose,
        "facts": _run_facts(result, card),
        "note": note,
        "level": percent(INTERVAL_LEVEL),
        "rows": [_row(row, colors.get(row.label, "#000000")) for row in rows],
        "rows_left_out": left_out,
        "measure": MEASURES[strips[0][0].measure] if strips else None,
        "background": "the image" if has_image else "the mean probability",
        "overview": _overview_picture(result, overview) if overview is not None else None,
        "pictures": [_picture(result, finding, strip) for finding, strip in strips],
        "reading": explanation(result, rows, card),
        "missing": _missing_text(result),
        "curve_text": curve_text(reliability) if reliability is not None else "",
        "points": curve_points(reliability) if reliability is not None else [],
        "record": result.record.model_dump_json(indent=1),
    }


def _run_facts(result: Segmentation, card: ModelCard | None) -> list[tuple[str, str]]:
    record = result.record
    input_record = record.input
    spacing = " × ".join(format_value(s) for s in input_record.spacing)
    units = {u for u in input_record.units if u != "s"}
    unit = display_unit(units.pop()) if len(units) == 1 else ", ".join(input_record.units)
    method = (
        card.method_title if card is not None else f"{record.model.method} {record.model.variant}".strip()
    )
    region = result.segmented_region
    slices = f", {region.describe() or f'all {record.planes} slices'}" if record.planes > 1 else ""
    image_shape = " × ".join(map(str, input_record.shape))
    facts = [("Case", record.case)] if record.case else []
    facts += [
        ("Model", f"{record.model.name}, version {record.model.version}"),
        ("Method", method),
        ("Samples", uncertainty_basis(result)),
        ("Threshold", f"{record.threshold:.3g}"),
        *([("Temperature", record.temperature.describe())] if record.temperature is not None else []),
        ("Mask", describe_mask(record)),
        (
            "Image",
            f"{input_record.modality or 'image'}, {image_shape} ({input_record.axes}){slices}",
        ),
        *([("Suitability", record.fit.describe())] if record.fit is not None else []),
        ("Spacing", "not known" if unit == "pixels" else f"{spacing} {unit}"),
        ("Date", _date_text(record.time)),
        ("Seed", f"{record.seed}; plugin {record.plugin_version}"),
    ]
    if record.box is not None:
        top, left, bottom, right = record.box
        facts.append(("Crop box", f"rows {top + 1} to {bottom}, columns {left + 1} to {right}"))
    if record.cleanup is not None:
        facts.append(("Post-processing", record.cleanup.describe(display_unit(record.volume_unit))))
    if region.is_cancelled:
        samples = f"{record.samples} of {record.samples_asked} samples"
        missing = region.describe_missing()
        facts.append(("Cancelled", f"{samples}; {missing}" if missing else samples))
    return facts


def _date_text(time: str) -> str:
    """A time of a record, to the second."""
    return re.sub(r"\.\d+", "", time).replace("T", " ").replace("+00:00", " UTC")


def _missing_text(result: Segmentation) -> str:
    """What was not computed, in a sentence; empty where everything was."""
    record, region = result.record, result.segmented_region
    if region.is_whole:
        samples = f"{record.samples} of {record.samples_asked} samples"
        return f"The run was cancelled after {samples}." if region.is_cancelled else ""
    missing = region.describe_missing() or f"only {region.describe()} was segmented"
    cancelled = "The run was cancelled: " if region.is_cancelled else ""
    sentence = f"{cancelled}{missing}, so the sizes are only of the rest"
    return f"{sentence[0].upper()}{sentence[1:]}. Nothing is known of what was not segmented."


def _rows_to_show(measurements: Sequence[Measurement], classes: int) -> tuple[list[Measurement], int]:
    """The rows to show, and how many are left out; an object that is alone in its class is not repeated."""
    class_rows = [m for m in measurements if m.object_number == 0]
    objects = [m for m in measurements if m.object_number > 0]
    multi_object_labels = {m.label for m in objects if m.object_number > 1}
    object_rows = sorted((m for m in objects if m.label in multi_object_labels), key=lambda m: -m.value)
    rows = class_rows[: _MAX_TIMEPOINTS * classes] + object_rows[:_MAX_OBJECT_ROWS]
    return rows, len(class_rows) + len(object_rows) - len(rows)


def _row(row: Measurement, color: str) -> dict[str, str]:
    sources = {"calibrated": "calibrated", "samples": f"of {count_text(row.samples, 'sample')}", "": "none"}
    diameters = ""
    if row.long_axis is not None and row.short_axis is not None:
        diameters = (
            f"{format_value(row.long_axis)} × {format_value(row.short_axis)} {display_unit(row.length_unit)}"
        )
    return {
        "title": row.title_with_parts,
        "color": color,
        "size": _size_text(row),
        "interval": row.interval_text.partition(": ")[2].rpartition(", ")[0],
        "interval_source": sources[row.interval_source],
        "probability": "" if row.probability is None else f"{row.probability:.2f}",
        "diameters": diameters,
    }


def _size_text(row: Measurement) -> str:
    text = f"{row.size_text} in {row.segmented}" if row.segmented else row.size_text
    if row.is_corrected and row.model_value is not None:
        text += f" (model: {row.format_size(row.model_value)})"
    return text


def _overview_picture(result: Segmentation, overview: Overview) -> dict[str, Any]:
    text = "the mask is empty" if overview.is_empty else "the outline of the mask"
    if overview.index and not overview.is_empty:
        text += ", in the slice with the largest part of it"
    return {
        "title": _plane_text(result, overview.index),
        "text": text,
        **overview.panels.values,
    }


def _picture(result: Segmentation, finding: Finding, strip: ImageStrip) -> dict[str, Any]:
    measure = MEASURES[finding.measure]
    lines = [
        f"{finding.name}: {_REASON_TEXTS[finding.reason]}",
        f"{measure.title} {format_value(finding.uncertainty)} {measure.unit}".strip(),
        "colour: min(p, 1 - p) of the mean probability p; pale yellow: 0.5",
    ]
    if strip.is_cropped:
        lines.append(f"a part of the {'slice' if finding.index else 'image'}")
    return {"position": _location(result, finding), "lines": lines, **strip.panels.values}


def _plane_text(result: Segmentation, index: tuple[int, ...]) -> str:
    """The slice, counted from 1: ``Slice 3 of 12``."""
    names = {"t": "time", "z": "slice"}
    planes = [
        f"{names.get(axis, axis)} {i + 1} of {n}"
        for axis, i, n in zip(result.axes, index, result.mask.shape, strict=False)
    ]
    return ", ".join(planes).capitalize() or "The image"


def _location(result: Segmentation, finding: Finding) -> str:
    """The plane, counted from 1, and the world position of the uncertain region."""
    text = _plane_text(result, finding.index)
    physical_space = PhysicalSpace.from_geometry(result.geometry, result.axes)
    if physical_space.unit == "pixel":
        return text
    spatial = [i for i, axis in enumerate(result.axes) if axis != "t"]
    centre = np.array([[(finding.box[i][0] + finding.box[i][1] - 1) / 2 for i in spatial]])
    time = finding.index[result.axes.index("t")] if "t" in result.axes else None
    world = physical_space.to_world(centre, time)[0]
    letters = [result.axes[i] for i in spatial]
    coordinates = ", ".join(f"{a} {v:.1f}" for a, v in reversed(list(zip(letters, world, strict=True))))
    frame = f" ({result.geometry.frame})" if result.geometry.frame else ""
    return f"{text}, about {coordinates} {display_unit(physical_space.unit)}{frame}"
