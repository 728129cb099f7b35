"""A model card in words, for the terminal and the widgets."""

from __future__ import annotations

import re

from napari_latentseg.core.percent import percent
from napari_latentseg.core.record import SAMPLING_SOURCES
from napari_latentseg.core.temperature import Temperature
from napari_latentseg.evaluation.calibration import VolumeInterval
from napari_latentseg.evaluation.contour_band import ContourBand
from napari_latentseg.evaluation.expected_dice import MISSED_DICE, ExpectedDice
from napari_latentseg.evaluation.fit import FitReference
from napari_latentseg.evaluation.reliability import Reliability
from napari_latentseg.evaluation.temperature_fit import TemperatureFit
from napari_latentseg.models.card import MetricRecord, ModelCard
from napari_latentseg.models.layout import WEIGHTS_FILE
from napari_latentseg.models.training_log import TrainingLog
from napari_latentseg.utils.counts import count_text

__all__ = ["card_lines", "card_text", "dice_text", "dice_words"]


def card_lines(card: ModelCard, log: TrainingLog | None = None) -> list[tuple[str, str]]:
    """The card as pairs of heading and text, without name, title and version.

    Parameters
    ----------
    card
        Of the model.
    log
        Of its training, from `read_training_log`; None where there is none.
    """
    lines = [*_purpose_lines(card), *_training_lines(card, log)]
    for metric in card.metrics:
        lines += _metric_lines(metric)
    if card.unjudged:
        lines.append(("Not judged", card.unjudged))
    if card.metrics:
        lines += [(f"  {name}", text) for name, text in card.metrics[0].conventions.items()]
    lines += [*_uncertainty_lines(card), *_sampling_lines(card)]
    lines.append(("Licence", card.licence or "not stated"))
    if WEIGHTS_FILE in card.files:
        lines.append(("SHA-256", card.files[WEIGHTS_FILE]))
    return lines


def _purpose_lines(card: ModelCard) -> list[tuple[str, str]]:
    """What it is for, and how it works."""
    codec = card.codec
    lines = [
        ("Modality", card.modality or "not stated"),
        ("Classes", ", ".join(c.name for c in card.classes)),
        ("Intended use", card.intended_use),
        ("Limits", card.limits),
        ("Method", card.method_title),
        ("Codec", f"{codec.name}, {codec.channels} latent channels" if codec else "its own, trained with it"),
        ("Works on", card.preprocess.describe()),
        ("Base model", card.parent),
    ]
    can_be_absent = ("Limits", "Base model")
    return [(heading, text) for heading, text in lines if text or heading not in can_be_absent]


def _training_lines(card: ModelCard, log: TrainingLog | None) -> list[tuple[str, str]]:
    lines = []
    for data in card.training_data:
        how = f" ({data.split})" if data.split else ""
        counts = f"{count_text(data.images, 'image')}, {data.validation_images} for validation"
        lines.append(("Trained on", f"{data.name}: {counts}{how}; {data.licence}"))
    if log is not None:
        lines.append(("Training", log.describe()))
    return lines


def _metric_lines(metric: MetricRecord) -> list[tuple[str, str]]:
    """What was measured, with how many samples and on what, and that of each class."""
    if metric.samples > 1:
        how = f"mean of {metric.samples} samples from {metric.source}"
    else:
        how = "one pass" if metric.source == "none" else f"one sample from {metric.source}"
    figures = ", ".join(
        _metric_text(name, value, metric.unit, metric.intervals.get(name))
        for name, value in metric.values.items()
    )
    base_figures = ", ".join(
        _metric_text(name, value, metric.unit) for name, value in metric.base_values.items()
    )
    base_text = f"; its base on the same: {base_figures}" if base_figures else ""
    lines = [("Measured", f"{figures} ({how}) {_measured_text(metric)}{base_text}")]
    if metric.classes:
        lines.append(("  by class", "; ".join(_class_text(*item) for item in metric.classes.items())))
    return lines


def _uncertainty_lines(card: ModelCard) -> list[tuple[str, str]]:
    """What its probabilities, intervals and contours are worth, and which images it was made for."""
    lines = []
    if card.reliability:
        lines.append(("Calibration", _reliability_text(card.reliability)))
    if card.temperature:
        lines.append(("Temperature", _temperature_text(card.temperature, card.temperature_fit)))
    if card.volume_interval:
        lines.append(("Intervals", _interval_text(card.volume_interval)))
    if card.contour_band:
        lines.append(("Contours", _contour_text(card.contour_band)))
    if card.expected_dice:
        lines.append(("Expected Dice", _expected_dice_text(card.expected_dice)))
        if card.expected_dice.worst_fifth:
            lines.append(("Worst fifth", card.expected_dice.worst_fifth.describe()))
    if card.bfloat16:
        lines.append(("bfloat16", card.bfloat16.describe()))
    if card.fit:
        lines.append(("Made for", _fit_text(card.fit)))
    return lines


def _sampling_lines(card: ModelCard) -> list[tuple[str, str]]:
    """Where its samples come from, and how its members do alone."""
    members_text = f"{SAMPLING_SOURCES['members']}, {card.members} in all"
    descriptions = SAMPLING_SOURCES | {"members": members_text}
    lines = [("Samples from", "; ".join(f"{s}: {descriptions[s]}" for s in card.sources))]
    if card.sample_agreement:
        lines.append(("Agreement", "; ".join(one.describe() for one in card.sample_agreement)))
    if card.member_dsc:
        dice = ", ".join(f"{dsc:.3f}" for dsc in card.member_dsc)
        shared = "; they share one conditioner" if card.member_parts == "predictor" else ""
        text = f"Dice {dice} on the validation slices{shared}; other sources use the first"
        lines.append(("Members", text))
    return lines


def card_text(card: ModelCard, log: TrainingLog | None = None) -> str:
    """The card as text for a terminal, one line per entry; see `card_lines`."""
    headings = [("Model", card.name), ("Title", f"{card.title}, version {card.version}")]
    return "\n".join(f"{heading + ':':<15}{text}" for heading, text in [*headings, *card_lines(card, log)])


def dice_text(card: ModelCard, label: str = "Dice ") -> str:
    """The Dice of a model with its number of images; of a fine-tuned one with that of its base on the same.

    Parameters
    ----------
    card
        Of the model.
    label
        What the figure is called, with a space.

    Returns
    -------
    str
        Such as ``"Dice 0.78 on 78 images"`` or ``"Dice 0.81, base 0.78, on the same 2 cases"``; empty where
        no Dice was measured.
    """
    if card.takes_prompts:
        return _click_text(card, label)
    metric = card.headline_metrics
    if metric is None or "dsc" not in metric.values:
        return ""
    noun = "case" if card.lineage else "image"
    return dice_words(metric.values["dsc"], metric.images, metric.base_values.get("dsc"), noun, label)


def _click_text(card: ModelCard, label: str) -> str:
    """The Dice after the first and the last number of clicks, as the mean over the data sets."""
    by_clicks: dict[str, list[float]] = {}
    for metric in card.metrics:
        by_clicks.setdefault(metric.data.rsplit(", ", 1)[-1].removesuffix(" each"), []).append(
            metric.values["dsc"]
        )
    if len(by_clicks) < 2:
        return ""
    means = [(clicks, sum(values) / len(values)) for clicks, values in by_clicks.items()]
    (first_clicks, first), (last_clicks, last) = means[0], means[-1]
    return f"{label}{first:.2f} after {first_clicks}, {last:.2f} after {last_clicks}"


def dice_words(dsc: float, images: int, base_dsc: float | None, noun: str, label: str = "Dice ") -> str:
    """A Dice in words, see `dice_text`.

    Parameters
    ----------
    dsc, base_dsc
        Of the model, and of its base on the same images; None where that is not known.
    images
        How many there are.
    noun
        What one of them is called.
    label
        What the figure is called, with a space.

    Examples
    --------
    >>> dice_words(0.781, 78, None, "image")
    'Dice 0.78 on 78 images'
    >>> dice_words(0.811, 2, 0.807, "case")
    'Dice 0.811, base 0.807, on the same 2 cases'
    """
    if base_dsc is None:
        return f"{label}{dsc:.2f} on {count_text(images, noun)}"
    # where two digits would make a difference look like none, a third one shows it
    digits = 2 if f"{dsc:.2f}" != f"{base_dsc:.2f}" else 3
    same = noun if images == 1 else f"{images} {noun}s"
    return f"{label}{dsc:.{digits}f}, base {base_dsc:.{digits}f}, on the same {same}"


def _reliability_text(reliability: Reliability) -> str:
    """Expected calibration error of the mean probability, in words."""
    first, last = reliability.uncertain_range
    uncertain_text = (
        ""
        if reliability.ece_unsure is None
        else f", {reliability.ece_unsure:.3f} for probabilities from {first:g} to {last:g}"
    )
    ensemble = f"mean of {count_text(reliability.samples, 'sample')} from {reliability.source}"
    error = f"expected calibration error {reliability.ece:.4f}{uncertain_text}"
    return f"{error} ({ensemble}), on {reliability.data}"


def _temperature_text(temperature: Temperature, fit: TemperatureFit | None) -> str:
    """What the mean probability is calibrated with, and what that gains, in words."""
    text = f"{temperature.describe()}; applied to the mean probability, not to single samples"
    if fit is None:
        return f"{text}; that of the base model"
    halves = "; ".join(
        f"{count_text(half.images, 'image')} {half.describe()} (temperature {half.temperature.describe()})"
        for half in fit.halves
    )
    return (
        f"{text}. Expected calibration error {fit.describe()}, each half of the images at the temperature of"
        f" the other: {halves}"
    )


def _interval_text(interval: VolumeInterval) -> str:
    """Level and classes of the calibrated intervals, and their coverage on other images, in words."""
    ensemble = f"{count_text(interval.samples, 'sample')} from {interval.source}"
    names = ", ".join(interval.factors)
    text = f"{percent(interval.level)} for areas and volumes of {names} ({ensemble}), by {interval.data}"
    if interval.coverage:
        coverage_text = ", ".join(
            f"{name} {percent(fraction)}" for name, fraction in interval.coverage.items()
        )
        text += f"; they held in {interval.tested_on} other images: {coverage_text}"
    return text


def _contour_text(band: ContourBand) -> str:
    """Promise and width of the contours, and how often they held, in words."""
    classes = "; ".join(
        f"{name}: median distance {percent(fit.typical_outward)} of the mask's size outwards"
        f" and {percent(fit.typical_inward)} inwards, held in {percent(fit.coverage)} of {fit.cases} images,"
        " each left out in turn"
        for name, fit in band.classes.items()
    )
    return (
        f"{band.promise} {count_text(band.samples, 'sample')} from {band.source}, by {band.data}. {classes}"
    )


def _expected_dice_text(expected: ExpectedDice) -> str:
    """How well the Dice of an image can be told, in words."""
    texts = []
    for name, fit in expected.classes.items():
        text = f"{name}: mean error {fit.mean_error:.2f}"
        if fit.correlation is not None:
            text += f", rank correlation {fit.correlation:.2f}"
        texts.append(
            f"{text}, {percent(expected.level)} bound held in {percent(fit.coverage)} of {fit.cases} images"
        )
    ensemble = f"{count_text(expected.samples, 'sample')} from {expected.source}"
    return f"{'; '.join(texts)}, each left out in turn ({ensemble}), by {expected.data}"


def _fit_text(fit: FitReference) -> str:
    """Which images the model was trained on, as far as others are compared with them, in words."""
    headers = fit.headers
    kinds = " and ".join({2: "single images", 3: "volumes"}[n] for n in headers.dimensions)
    colors = " or ".join({"grey": "grey", "colour": "in colour"}[color] for color in headers.colors)
    parts = [f"{kinds}, {colors}" if colors else kinds]
    if headers.spacing is not None:
        parts.append(f"pixels of {_range_text(headers.spacing)} mm")
    if headers.slice_spacing is not None:
        parts.append(f"slices {_range_text(headers.slice_spacing)} mm apart")
    if headers.sides_mm is not None:
        parts.append(f"sides of {_range_text(headers.sides_mm)} mm")
    else:
        parts.append(f"sides of {_range_text(headers.sides)} pixels")
    text = "; ".join(parts)
    if fit.latents is None:
        return f"{text} ({count_text(fit.images, 'training image')})"
    limits = fit.latents.volumes or fit.latents.slices
    return (
        f"{text}; images at a distance above {limits.unusual:.2f} are called unusual, above"
        f" {limits.foreign:.2f} foreign (from {fit.images} training and {fit.validation_images} validation"
        " images)"
    )


def _range_text(limits: tuple[float, float]) -> str:
    low, high = f"{limits[0]:g}", f"{limits[1]:g}"
    return low if low == high else f"{low} to {high}"


def _class_text(name: str, values: dict[str, float]) -> str:
    count = round(values.get("images", 0))
    return f"{name} Dice {values.get('dsc', 0):.3f} ({count_text(count, 'image')})"


def _metric_text(name: str, value: float, unit: str, interval: tuple[float, float] | None = None) -> str:
    digits, ending = (1, f" {unit}") if name == "hd95" else (3, "")
    title = {"dsc": "Dice", "iou": "IoU", "hd95": "HD95"}.get(name, name)
    ends = "" if interval is None else f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})"
    return f"{title} {value:.{digits}f}{ending}{ends}"


def _measured_text(metric: MetricRecord) -> str:
    """On how many images a metric was measured, and what a mean does not tell."""
    text = f"on {metric.data}"
    if not re.search(rf"\b{metric.images}\b", metric.data):
        text += f", {count_text(metric.images, 'image')}"
    if metric.missed is not None:
        text += f"; {metric.missed} missed (Dice < {MISSED_DICE})"
    if metric.intervals:
        text += "; in parentheses 95 % intervals over images"
    return text
