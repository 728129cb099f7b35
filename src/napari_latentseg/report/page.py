"""The page of a report: HTML that stands by itself, without scripts, for one sheet of A4."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from napari_latentseg.measure import LEVEL, Measurement
from napari_latentseg.measure.measurement import plain_unit, rounded
from napari_latentseg.measure.space import Space
from napari_latentseg.report.curve import curve_svg
from napari_latentseg.report.pictures import Strip
from napari_latentseg.review import MEASURES, Finding, basis
from napari_latentseg.segmentation import Segmentation

if TYPE_CHECKING:
    from napari_latentseg.models.card import ModelCard

__all__ = ["page"]

_OBJECTS = 6  # objects in the table; the CSV has all of them
_TIMES = 6
_STYLE = """
@page { size: A4; margin: 11mm 13mm; }
body { font: 13px/1.4 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #1b1b1b; background: #fff;
       max-width: 900px; margin: 24px auto; padding: 0 20px; }
h1 { font-size: 21px; margin: 0; }
h2 { font-size: 14px; margin: 16px 0 5px; border-bottom: 1px solid #ccc; padding-bottom: 2px; }
p { margin: 4px 0; }
.purpose { font-weight: 600; color: #8a1c1c; margin: 2px 0 8px; }
.facts { display: grid; grid-template-columns: auto 1fr auto 1fr; gap: 1px 12px; margin: 0; }
.facts dt { color: #666; } .facts dd { margin: 0; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; color: #555; }
th, td { padding: 2px 10px 2px 0; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.chip { display: inline-block; width: 10px; height: 10px; margin-right: 6px; border: 1px solid #555; }
figure { display: flex; gap: 14px; align-items: center; margin: 6px 0; break-inside: avoid; }
figure img { width: auto; max-width: 64%; max-height: 210px; flex: none; }
figcaption { flex: 1; font-size: 12px; }
.side { display: flex; gap: 18px; align-items: flex-start; break-inside: avoid; }
.side svg { flex: none; }
.small { font-size: 11.5px; color: #444; }
details { margin-top: 14px; } summary { cursor: pointer; }
pre { font-size: 10.5px; white-space: pre-wrap; overflow-wrap: anywhere; }
.note { white-space: pre-wrap; }
@media print {
  body { margin: 0; padding: 0; max-width: none; font-size: 10.5px; }
  h1 { font-size: 16px; } h2 { font-size: 11.5px; margin: 8px 0 3px; }
  figure { margin: 3px 0; } figure img { max-height: 37mm; max-width: 66%; }
  figcaption, .small { font-size: 9.5px; } .side svg { height: 34mm; width: auto; }
  details { display: none; } .chip { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def page(
    found: Segmentation,
    measurements: Sequence[Measurement],
    pictures: Sequence[tuple[Finding, Strip]],
    card: ModelCard | None,
    *,
    has_image: bool,
    note: str,
) -> str:
    """The whole page; everything that is not our own is escaped.

    Parameters
    ----------
    found, measurements, card, note
        See `write_report`.
    pictures
        Of the places to show, those least sure first.
    has_image
        Whether the pictures show the image, or the mean in its place.
    """
    title = card.title if card is not None else found.record.model.name
    rows, left = _shown(measurements, len(found.classes))
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="purpose">{escape(found.record.purpose)}</p>',
        _facts(found, card),
        *([f'<h2>Note</h2><p class="note">{escape(note)}</p>'] if note else []),
        "<h2>Sizes</h2>",
        _table(rows, left, {info.label: info.color for info in found.classes}),
        "<h2>Where the result is least sure</h2>",
        _pictures(found, pictures, has_image),
        "<h2>How to read this</h2>",
        _reading(found, rows, card),
        "<details><summary>Record of the run</summary>"
        f"<pre>{escape(found.record.model_dump_json(indent=1))}</pre></details>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}: report</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _facts(found: Segmentation, card: ModelCard | None) -> str:
    record = found.record
    scan = record.input
    steps = " × ".join(rounded(s) for s in scan.spacing)
    units = {u for u in scan.units if u != "s"}
    unit = plain_unit(units.pop()) if len(units) == 1 else ", ".join(scan.units)
    edited = "; the mask was edited by a person" if record.mask_edited else ""
    method = (
        card.method_title if card is not None else f"{record.model.method} {record.model.variant}".strip()
    )
    slices = f", {record.planes_done} of {record.planes} slices" if record.planes > 1 else ""
    facts = [
        ("Model", f"{record.model.name}, version {record.model.version}"),
        ("Method", method),
        ("Samples", basis(found)),
        ("Cut", f"{record.threshold:g}{edited}"),
        ("Image", f"{scan.modality or 'image'}, {' × '.join(map(str, scan.shape))} ({scan.axes}){slices}"),
        ("Spacing", "not known" if unit == "pixels" else f"{steps} {unit}"),
        ("Made", record.time.replace("T", " ").replace("+00:00", " UTC")),
        ("Seed", f"{record.seed}; plugin {record.plugin_version}"),
    ]
    if record.box is not None:
        top, left, bottom, right = record.box
        facts.append(("Worked on", f"rows {top + 1} to {bottom}, columns {left + 1} to {right}"))
    if record.cleanup is not None:
        facts.append(("Mended", record.cleanup.text(plain_unit(record.volume_unit))))
    if not record.complete:
        facts.append(("Stopped", f"{record.samples} of {record.samples_asked} samples"))
    cells = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return f'<dl class="facts">{cells}</dl>'


def _shown(measurements: Sequence[Measurement], classes: int) -> tuple[list[Measurement], int]:
    """The rows that a page has room for, and how many that leaves out; a single object is its class."""
    wholes = [m for m in measurements if m.object == 0]
    objects = [m for m in measurements if m.object > 0]
    several = {m.label for m in objects if m.object > 1}
    listed = sorted((m for m in objects if m.label in several), key=lambda m: -m.value)
    rows = wholes[: _TIMES * classes] + listed[:_OBJECTS]
    return rows, len(wholes) + len(listed) - len(rows)


def _table(rows: Sequence[Measurement], left: int, colours: dict[int, str]) -> str:
    level = _percent(LEVEL)
    head = (
        "<tr><th>Class</th><th class=n>Size</th>"
        f"<th class=n>{level} interval</th><th>which is</th><th class=n>Mean probability</th>"
        "<th class=n>Longest diameter × across</th></tr>"
    )
    lines = [_line(m, colours.get(m.label, "#000000")) for m in rows]
    more = f'<p class="small">{left} further rows are in the table (CSV) of this result.</p>' if left else ""
    return f"<table>{head}{''.join(lines)}</table>{more}"


def _line(m: Measurement, colour: str) -> str:
    interval = m.interval_text.partition(": ")[2].rpartition(", ")[0]
    kind = {"calibrated": "calibrated", "samples": f"of {m.samples} samples"}.get(m.interval_is, "")
    unit = plain_unit(m.length_unit)
    size = (
        "" if m.longest is None or m.across is None else f"{rounded(m.longest)} × {rounded(m.across)} {unit}"
    )
    probability = "" if m.probability is None else f"{m.probability:.2f}"
    chip = f'<span class="chip" style="background:{escape(colour)}"></span>'
    cells = [(m.size_text, True), (interval, True), (kind, False), (probability, True), (size, True)]
    return f"<tr><td>{chip}{escape(m.title)}</td>" + "".join(
        f"<td{' class=n' if number else ''}>{escape(text)}</td>" for text, number in cells
    ) + "</tr>"  # fmt: skip


def _pictures(found: Segmentation, pictures: Sequence[tuple[Finding, Strip]], has_image: bool) -> str:
    if not pictures:
        return "<p>No place was found of which it is unsure.</p>"
    measure = MEASURES[pictures[0][0].measure]
    ground = "the image" if has_image else "the mean probability"
    parts = [
        f'<p class="small">By {escape(measure.title)} ({escape(measure.about)}). Left to right: {ground}; '
        "the outline of the mask; where the doubt is, from nothing through red to yellow.</p>"
    ]
    for finding, strip in pictures:
        data = base64.b64encode(strip.png).decode("ascii")
        lines = [
            f"<b>{escape(_where(found, finding))}</b>",
            escape(f"{finding.name}: {_WHY[finding.why]}"),
            escape(f"{measure.title} {rounded(finding.uncertainty)} {measure.unit}".strip()),
            escape(f"yellow is a {strip.what} of {strip.most:.2g}"),
            *([f"a part of the {'slice' if finding.index else 'image'}"] if strip.is_part else []),
        ]
        width, height = strip.size
        parts.append(
            f'<figure><img style="aspect-ratio: {width} / {height}" '
            f'alt="{escape(_where(found, finding))}" src="data:image/png;base64,{data}">'
            f"<figcaption>{'<br>'.join(lines)}</figcaption></figure>"
        )
    return "\n".join(parts)


_WHY = {
    "boundary": "where it ends is not sure",
    "in or out": "whether it is there is not sure",
    "volume": "how large it is is not sure",
}


def _where(found: Segmentation, finding: Finding) -> str:
    """Which plane, counted from 1, and where in the world the doubt is."""
    names = {"t": "time", "z": "slice"}
    shape = found.mask.shape
    planes = [
        f"{names.get(axis, axis)} {i + 1} of {n}"
        for axis, i, n in zip(found.axes, finding.index, shape, strict=False)
    ]
    space = Space.of(found.geometry, found.axes)
    text = ", ".join(planes).capitalize() or "The image"
    if space.unit == "pixel":
        return text
    kept = [i for i, axis in enumerate(found.axes) if axis != "t"]
    middle = np.array([[(finding.box[i][0] + finding.box[i][1] - 1) / 2 for i in kept]])
    time = finding.index[found.axes.index("t")] if "t" in found.axes else None
    place = space.places(middle, time)[0]
    letters = [found.axes[i] for i in kept]
    at = ", ".join(f"{a} {v:.1f}" for a, v in reversed(list(zip(letters, place, strict=True))))
    frame = f" ({found.geometry.frame})" if found.geometry.frame else ""
    return f"{text}, about {at} {plain_unit(space.unit)}{frame}"


def _reading(found: Segmentation, measurements: Sequence[Measurement], card: ModelCard | None) -> str:
    lines = [found.record.meaning]
    if found.variance is None:
        lines.append(f"There is no variance here: {basis(found)}.")
    kinds = {m.interval_is for m in measurements}
    if "calibrated" in kinds and card is not None and card.volume_interval is not None:
        fit = card.volume_interval
        line = f"A calibrated interval is made to hold the reference in {_percent(fit.level)} of images like "
        line += f"the {fit.cases} that it comes from ({fit.data})"
        if fit.coverage and fit.tested_on:
            held = ", ".join(f"{name} {_percent(share)}" for name, share in fit.coverage.items())
            line += f"; on {fit.tested_on} others it did in: {held}"
        lines.append(f"{line}.")
    if "samples" in kinds:
        lines.append(
            "An interval of the samples is where nine of ten further samples of this model would lie. How "
            "far all of them are from the truth, it cannot tell."
        )
    if found.record.cleanup is not None and kinds & {"calibrated", "samples"}:
        which = "of single objects " if found.record.volumes_cleaned else ""
        lines.append(f"The mask was mended; the samples behind the intervals {which}were not.")
    text = _paragraphs(lines)
    reliability = card.reliability if card is not None else None
    if card is None or reliability is None:
        return text + '<p class="small">No reliability curve was measured for this model.</p>'
    curve = (
        f"The curve: how often places of a mean probability were right, on {reliability.images} images with "
        f"{reliability.samples} samples ({reliability.data}). On the dashed line, probabilities are what "
        f"they say. Expected calibration error {reliability.ece:.3f}"
    )
    if reliability.ece_unsure is not None:
        curve += f", {reliability.ece_unsure:.3f} where it is neither nearly 0 nor nearly 1"
    return f'<div class="side">{curve_svg(reliability)}<div>{text}{_paragraphs([curve + "."])}</div></div>'


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _paragraphs(lines: Iterable[str]) -> str:
    return "".join(f'<p class="small">{escape(line)}</p>' for line in lines)
