"""How each paper scores its predictions: size, empty masks, pooling, classes.

The figures of two papers on one data set differ by the protocol as much as by the method. `PROTOCOLS` states
each protocol as settings, from the paper or its authors' code, with what neither says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput, choose_from
from napari_latentseg.evaluation.arrays import Empty, Mask, check_pair, empty_masks
from napari_latentseg.evaluation.metrics import dice, iou, surface_distances
from napari_latentseg.evaluation.report import MeanScores, PooledScores, ProtocolReport
from napari_latentseg.evaluation.scores import ClassMean, ImageScores, check_mean_dice_iou

__all__ = ["PROTOCOLS", "Protocol", "ProtocolScores", "find_protocol", "soft_dice"]

_SOFT_DICE_SMOOTHING = 1e-5  # MONAI's default, added to numerator and denominator; GMS trains with it

Aggregation = Literal["image", "pooled", "class"]


@dataclass(frozen=True)
class Protocol:
    """The scoring of one paper.

    Attributes
    ----------
    name, title, reference
        Key, name, and where in the paper or its code the protocol stands.
    size
        Images and reference masks are brought to squares of this many pixels before anything is computed, and
        scored there: a number, ``"model"`` for the model's working size, or ``"file"`` for no change.
    dimensions
        2 where single images are scored, 3 where volumes are, each as a whole.
    samples
        Samples whose mean is scored where the user asks for no other number; None for the model's default.
    threshold
        Mean probability above which a pixel belongs to the mask.
    aggregation
        The paper's figure: the mean over ``"image"``s (or volumes), ``"pooled"`` over the pixels of all
        images, or the mean over volumes for each ``"class"``.
    empty_dsc, empty_iou
        The score where a mask is empty, by which one is; None leaves the image out.
    empty_hd95
        HD95 where either mask is empty, in pixels; None where the paper has no HD95, which is then that of
        `napari_latentseg.evaluation.metrics.hd95`.
    has_soft_dice
        Whether the Dice of the probabilities is reported too.
    unknown
        What neither paper nor code says, and what is done here.
    """

    name: str
    title: str
    reference: str
    size: int | Literal["model", "file"]
    dimensions: tuple[int, ...]
    samples: int | None
    aggregation: Aggregation
    empty_dsc: Mapping[Empty, float | None]
    empty_iou: Mapping[Empty, float | None]
    unknown: str
    threshold: float = 0.5
    empty_hd95: float | None = None
    has_soft_dice: bool = False

    def score(self, prediction: Mask, reference: Mask) -> ImageScores | None:
        """The scores of one image or volume and one class; None where the protocol leaves it out.

        Parameters
        ----------
        prediction, reference
            Boolean masks of one shape, at the size of the protocol.

        Raises
        ------
        BadInput
            If the shapes differ, or a mask is not boolean or has no voxels.
        """
        prediction, reference = check_pair(prediction, reference)
        empty = empty_masks(prediction, reference)
        if not empty:
            distances = np.concatenate(surface_distances(prediction, reference))
            return ImageScores(
                dsc=dice(prediction, reference),
                iou=iou(prediction, reference),
                hd95=float(np.percentile(distances, 95)),
            )
        dsc_value, iou_value = self.empty_dsc[empty], self.empty_iou[empty]
        if dsc_value is None or iou_value is None:
            return None
        hd95_value = self.empty_hd95
        if hd95_value is None:
            hd95_value = 0.0 if empty == "both" else float(np.hypot.reduce(prediction.shape))
        return ImageScores(dsc=dsc_value, iou=iou_value, hd95=hd95_value, empty=empty)

    def check_dimensions(self, name: str, plane_count: int, *, is_volume: bool) -> None:
        """Refuse a volume where single images are scored, and a single image where volumes are.

        Parameters
        ----------
        name
            What the message calls the image.
        plane_count
            Number of its slices.
        is_volume
            Whether it has a slice or time axis.

        Raises
        ------
        BadInput
            If the protocol has no such images.
        """
        if is_volume and plane_count > 1 and 3 not in self.dimensions:
            why = f"has {plane_count} slices, and the protocol {self.name} scores single images"
        elif plane_count == 1 and 2 not in self.dimensions:
            why = f"is a single image, and the protocol {self.name} scores volumes"
        else:
            return
        fitting = [p.name for p in PROTOCOLS.values() if (3 if is_volume else 2) in p.dimensions]
        raise BadInput(name, why, f"use --protocol {' or '.join(fitting)}, or none")

    def conventions(self, size: int | None) -> dict[str, str]:
        """The definitions of the scores in words, for reports.

        Parameters
        ----------
        size
            Side of the images that were scored, in pixels; None at the size of the files.
        """
        at = "at the size of the image files" if size is None else f"at {size} x {size} pixels"
        of = {
            "image": "mean over images, standard deviation with n - 1",
            "pooled": "pooled over the pixels of all images; the means over images beside it",
            "class": "mean over volumes for each class, then over classes",
        }[self.aggregation]
        no_hd95 = "; not in the paper" if self.empty_hd95 is None else ""
        return {
            "protocol": f"{self.title}: {self.reference}",
            "dsc": f"Dice coefficient; {_empty_words(self.empty_dsc)}",
            "iou": f"intersection over union; {_empty_words(self.empty_iou)}",
            "hd95": f"95th percentile of the boundary distances of both directions, in pixels{no_hd95}",
            "summary": of,
            "size": at,
            "hd95_unit": "pixel",
            "unknown": self.unknown,
        }


def _empty_words(by_empty: Mapping[Empty, float | None]) -> str:
    masks: dict[Empty, str] = {"both": "both masks", "prediction": "the prediction", "truth": "the reference"}
    texts = [
        f"{words} {'are' if which == 'both' else 'is'} empty: "
        + ("left out" if by_empty[which] is None else f"{by_empty[which]:g}")
        for which, words in masks.items()
    ]
    return "where " + ", where ".join(texts)


_ALWAYS_ZERO: dict[Empty, float | None] = {"both": 0.0, "prediction": 0.0, "truth": 0.0}

PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol(
            name="gms",
            title="GMS and Wave-GMS",
            reference=(
                "GMS, Section 4.1 and Tables 1 to 5, valid.py of its code; Wave-GMS, Section 3, Tables 2 to 4"
            ),
            size=224,
            dimensions=(2,),
            samples=1,
            aggregation="image",
            empty_dsc=_ALWAYS_ZERO,
            empty_iou=_ALWAYS_ZERO,
            empty_hd95=0.0,  # the development code of Wave-GMS; the published code of GMS has no HD95
            has_soft_dice=True,  # GMS's training selects its weights by it
            unknown=(
                "how GMS computes HD95 is not published: as in the development code of Wave-GMS, 0 where a"
                " mask is empty, which is the best value. The authors resize images without antialiasing"
            ),
        ),
        Protocol(
            name="sdseg",
            title="SDSeg",
            reference="SDSeg, Section 3 and Tables 2 to 6; dice_score, iou_score and log_dice of its code",
            size=256,
            dimensions=(2, 3),
            samples=1,
            aggregation="image",
            # dice_score gives 1 where something is predicted and nothing is there
            empty_dsc={"both": 0.0, "prediction": 0.0, "truth": 1.0},
            empty_iou=_ALWAYS_ZERO,
            unknown=(
                "the paper does not say how the 3-D figures are averaged: as in the code, each volume is"
                " resized in its planes and scored as a whole. The code computes in half precision"
            ),
        ),
        Protocol(
            name="medseglatdiff",
            title="MedSegLatDiff",
            reference=(
                "MedSegLatDiff, Section IV.B and Tables II and III; development code of its first author"
            ),
            size="model",
            dimensions=(2,),
            samples=5,
            aggregation="pooled",
            empty_dsc=_ALWAYS_ZERO,
            empty_iou=_ALWAYS_ZERO,
            unknown=(
                "the paper does not say whether pixels are pooled: the code's metrics pool them, and the"
                " figures of CVC-ClinicDB fit that; those of ISIC-2018 and LIDC-IDRI do not, since their IoU"
                " is above D / (2 - D). Nor does it say what an empty mask scores"
            ),
        ),
        Protocol(
            name="guided",
            title="Guided latent diffusion",
            reference="Guided latent diffusion, Section 3 and Tables 2 and 3",
            size="file",
            dimensions=(3,),
            samples=None,
            aggregation="class",
            empty_dsc={"both": None, "prediction": 0.0, "truth": None},
            empty_iou={"both": None, "prediction": 0.0, "truth": None},
            unknown=(
                "the paper does not say whether volumes are scored at their own or at the resampled spacing,"
                " how many samples are averaged, or what a class scores that is not in a volume: here at the"
                " spacing of the file, and such volumes are left out of that class"
            ),
        ),
    )
}
"""The protocols by name. `gms` is that of Wave-GMS too."""

_ALIASES = {"wave-gms": "gms"}


def find_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises
    ------
    BadInput
        If there is none.
    """
    key = _ALIASES.get(name, name)
    if key not in PROTOCOLS:
        raise BadInput("protocol", f"{name!r} is not known", choose_from(name, list(PROTOCOLS)))
    return PROTOCOLS[key]


def soft_dice(probability: NDArray[np.floating[Any]], reference: Mask) -> float:
    """Dice of a probability and a mask, without a threshold, smoothed as in MONAI.

    Parameters
    ----------
    probability
        In [0, 1].
    reference
        Boolean, of the same shape.

    Returns
    -------
    float
        In [0, 1]; near 1 where both are zero everywhere.

    Examples
    --------
    >>> round(soft_dice(np.array([0.5, 0.5]), np.array([True, False])), 4)
    0.5
    """
    probability = np.asarray(probability, dtype=np.float64)
    overlap = float(probability[reference].sum())
    total = float(probability.sum()) + int(np.count_nonzero(reference))
    return (2 * overlap + _SOFT_DICE_SMOOTHING) / (total + _SOFT_DICE_SMOOTHING)


@dataclass
class ProtocolScores:
    """The scores of many images by one protocol, class by class.

    Parameters
    ----------
    protocol
        Which one.
    class_names
        The classes of the model.
    """

    protocol: Protocol
    class_names: Sequence[str]
    _scores: list[list[ImageScores]] = field(init=False)
    _soft: list[float] = field(init=False, default_factory=list)
    _counts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self._scores = [[] for _ in self.class_names]
        # of each class: voxels in both masks, in the prediction, in the reference
        self._counts = np.zeros((len(self.class_names), 3), dtype=np.int64)

    def add(
        self, k: int, prediction: Mask, reference: Mask, probability: NDArray[np.float32] | None = None
    ) -> ImageScores | None:
        """Score one class of one image; None where the protocol leaves it out.

        Parameters
        ----------
        k
            The class, from 0.
        prediction, reference
            Boolean masks of one shape.
        probability
            That of the class, in [0, 1]; needed where the protocol has a soft Dice.
        """
        scores = self.protocol.score(prediction, reference)
        if scores is None:
            return None
        self._scores[k].append(scores)
        self._counts[k] += [
            np.count_nonzero(mask) for mask in (prediction & reference, prediction, reference)
        ]
        if self.protocol.has_soft_dice and probability is not None:
            self._soft.append(soft_dice(probability, reference))
        return scores

    def report(self, size: int | None, precision: str) -> ProtocolReport:
        """The figures over all images.

        Parameters
        ----------
        size
            Side of the images that were scored, in pixels; None at the size of the files.
        precision
            Of the arithmetic.

        Raises
        ------
        BadInput
            If no image was scored.
        RuntimeError
            If Dice and IoU of masks that are not empty are not from the same masks, which is a bug.
        """
        classes = {
            name: ClassMean(images=len(scores), **_mean_scores(scores).model_dump())
            for name, scores in zip(self.class_names, self._scores, strict=True)
            if scores
        }
        if not classes:
            why = "no image has a class to score"
            raise BadInput("scores", why, "give images whose reference masks hold the classes of the model")
        for scores in self._scores:
            _check_dice_iou(scores)
        everything = [s for scores in self._scores for s in scores]
        pooled = [
            _pooled(counts) for counts, scores in zip(self._counts, self._scores, strict=True) if scores
        ]
        mean = _mean_scores(everything)
        if self.protocol.aggregation == "class":
            values = classes.values()
            mean = MeanScores(**{n: float(np.mean([getattr(c, n) for c in values])) for n in _NAMES})
        return ProtocolReport(
            name=self.protocol.name,
            size=size,
            precision=precision,
            aggregation=self.protocol.aggregation,
            mean=mean,
            pooled=PooledScores(
                dsc=float(np.mean([p.dsc for p in pooled])), iou=float(np.mean([p.iou for p in pooled]))
            ),
            soft_dsc=float(np.mean(self._soft)) if self._soft else None,
            classes=classes,
            empty={which: sum(s.empty == which for s in everything) for which in _EMPTY},
        )


_NAMES = ("dsc", "iou", "hd95")
_EMPTY: tuple[Empty, ...] = ("prediction", "truth", "both")


def _mean_scores(scores: Sequence[ImageScores]) -> MeanScores:
    return MeanScores(**{name: float(np.mean([getattr(s, name) for s in scores])) for name in _NAMES})


def _pooled(counts: NDArray[np.int64]) -> PooledScores:
    """Dice and IoU of the pixels of all images together; 0 where there are none."""
    overlap, predicted, referenced = (int(n) for n in counts)
    total = predicted + referenced
    return PooledScores(
        dsc=2 * overlap / total if total else 0.0, iou=overlap / (total - overlap) if total else 0.0
    )


def _check_dice_iou(scores: Sequence[ImageScores]) -> None:
    """IoU >= D / (2 - D) for the means; where a mask is empty, protocols set the two by unlike rules."""
    filled = [s for s in scores if not s.empty]
    if filled:
        mean = _mean_scores(filled)
        check_mean_dice_iou(mean.dsc, mean.iou)
