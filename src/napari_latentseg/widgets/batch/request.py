"""The arguments of `batch`, from the fields of the window and the settings of Segment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_latentseg.models.card import ModelCard
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.preferences import preferences

__all__ = ["LAYOUTS", "BatchRequest", "RunSettings"]

LAYOUTS = {
    "flat": "a folder for each case, as Export writes it",
    "bids": "BIDS derivatives",
    "nnunet": "nnU-Net: one label map for each case",
}


@dataclass(frozen=True)
class RunSettings:
    """The settings of the runs; what the Segment widget does not say is left to the model.

    Attributes
    ----------
    samples, source, threshold
        None for those of the model.
    plane, tolerance, min_size, fill_holes, keep_largest, device, seed
        As the command line takes them.
    """

    samples: int | None = None
    source: str | None = None
    threshold: float | None = None
    plane: str = "acquired"
    tolerance: float = 0.0
    min_size: float = 0.0
    fill_holes: bool = False
    keep_largest: bool = False
    device: str = "auto"
    seed: int = 0

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], model: str) -> RunSettings:
        """The settings of the Segment widget for a model.

        Parameters
        ----------
        choices
            The values of its fields, see `ViewerSession.choices`; empty where it was never open.
        model
            Samples, source and threshold belong to a model: those of another one are not taken over.
        """
        defaults = preferences()
        settings = cls(
            samples=defaults.samples or None,
            plane=str(choices.get("plane", "acquired")),
            tolerance=float(choices.get("tolerance", 0.0)),
            min_size=float(choices.get("smallest", 0.0)),
            fill_holes=bool(choices.get("fill_holes", False)),
            keep_largest=bool(choices.get("keep_largest", False)),
            device=str(choices.get("device", defaults.device)),
            seed=int(choices.get("seed", 0)),
        )
        if choices.get("model") != model:
            return settings
        source = str(choices["source"])
        return cls(
            **{
                **vars(settings),
                "source": source,
                "samples": 1 if source == "none" else int(choices["samples"]),
                "threshold": float(choices["threshold"]),
            }
        )

    def options(self) -> list[str]:
        """The options of the command line, without those that are the model's own."""
        options = ["--device", self.device, "--seed", str(self.seed), "--plane", self.plane]
        if self.samples is not None:
            options += ["--samples", str(self.samples)]
        if self.source is not None:
            options += ["--sampling", self.source]
        if self.threshold is not None:
            options += ["--threshold", f"{self.threshold:g}"]
        if self.tolerance:
            options += ["--tolerance", f"{self.tolerance:g}"]
        if self.min_size:
            options += ["--min-size", f"{self.min_size:g}"]
        return options + ["--fill-holes"] * self.fill_holes + ["--keep-largest"] * self.keep_largest

    def describe(self, card: ModelCard, source_labels: Mapping[str, str]) -> str:
        """One line for people.

        Parameters
        ----------
        card
            The card of the model, for what it says by itself.
        source_labels
            The sampling sources in words.
        """
        source = self.source or card.sources[0]
        samples = card.default_samples if self.samples is None else self.samples
        threshold = card.threshold if self.threshold is None else self.threshold
        parts = [
            source_labels[source]
            if source == "none"
            else f"{count_text(samples, 'sample')} from {source_labels[source]}",
            f"threshold {threshold:.2f}",
        ]
        if self.plane != "acquired":
            parts.append(f"{self.plane} slices")
        if self.tolerance:
            parts.append("early stopping")
        if self.min_size:
            parts.append(f"objects of {self.min_size:g} or more")
        if self.fill_holes:
            parts.append("holes filled")
        if self.keep_largest:
            parts.append("the largest object alone")
        return ", ".join(parts)


@dataclass(frozen=True)
class BatchRequest:
    """The arguments of a batch.

    Attributes
    ----------
    images
        A folder of images, or a CSV file that lists them.
    out
        The folder of the results and their table.
    model
        Name of the model.
    settings
        Of the runs.
    layout
        One of `LAYOUTS`.
    deidentify
        Whether what names the patient is left out of file names and DICOM-SEG.
    resume
        Whether finished cases of the folder are kept.
    """

    images: Path
    out: Path
    model: str
    settings: RunSettings
    layout: str = "flat"
    deidentify: bool = False
    resume: bool = False

    def command_line(self) -> list[str]:
        """The command and its options."""
        command = ["batch", str(self.images), "--model", self.model, "--out", str(self.out)]
        command += ["--layout", self.layout, *self.settings.options(), "--events"]
        return command + ["--deidentify"] * self.deidentify + ["--resume"] * self.resume
