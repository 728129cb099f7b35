"""Decide on fine-tuned models: adopt them as a new version, discard them, return to an earlier version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.versions import ModelVersion

__all__ = [
    "adopt_model",
    "discard_model",
    "free_model_name",
    "list_candidates",
    "model_history",
    "revert_model",
]


def list_candidates() -> dict[str, Path]:
    """The fine-tuned models that are neither adopted nor discarded yet.

    Returns
    -------
    dict
        The folder of each, by name.

    Examples
    --------
    >>> from napari_latentseg import list_candidates
    >>> list(list_candidates())
    ['lesions-tuned']
    """
    from napari_latentseg.models.candidates import list_candidates as waiting

    return waiting()


def free_model_name(base: str) -> str:
    """A name for a model that is fine-tuned from another, which no model and no candidate has.

    Parameters
    ----------
    base
        The name of the model that it is fine-tuned from.

    Returns
    -------
    str
        Such as ``"breast-ultrasound-tuned"``.

    Examples
    --------
    >>> from napari_latentseg import free_model_name
    >>> free_model_name("lesions"), free_model_name("breast-ultrasound")
    ('lesions-tuned-2', 'breast-ultrasound-tuned')
    """
    from napari_latentseg.models.candidates import free_name

    return free_name(base)


def model_history(name: str) -> list[ModelVersion]:
    """The versions of a model, the oldest first.

    Parameters
    ----------
    name
        The name of the model.

    Returns
    -------
    list of ModelVersion
        With the Dice coefficient of each card, and what the comparison with its base said.

    Raises
    ------
    BadInput
        If there is no model of that name.

    Examples
    --------
    >>> from napari_latentseg import adopt_model, model_history
    >>> card = adopt_model("lesions-tuned")
    >>> [(version.version, version.is_current) for version in model_history("lesions")]
    [('1', False), ('2', True)]
    """
    from napari_latentseg.models.versions import list_versions

    return list_versions(name)


def adopt_model(candidate: str | Path, *, keep_both: bool = False) -> ModelCard:
    """Use a fine-tuned model, as the next version of its base or as a model of its own.

    No file of the base is changed: `revert_model` returns to it.

    Parameters
    ----------
    candidate
        The name of a candidate, or its folder.
    keep_both
        Install it beside its base, under its own name. Otherwise the name of the base loads it from now on.

    Returns
    -------
    ModelCard
        The card of the model as it is installed.

    Raises
    ------
    BadInput
        If there is no such candidate, it is damaged, its name is taken, or the model that it was
        fine-tuned from is not on this machine.

    Examples
    --------
    >>> from napari_latentseg import adopt_model
    >>> card = adopt_model("lesions-tuned")
    >>> card.name, card.version, card.parent
    ('lesions', '2', 'lesions 1')
    """
    from napari_latentseg.models.candidates import adopt
    from napari_latentseg.models.card import read_card

    return read_card(adopt(candidate, keep_both=keep_both))


def revert_model(name: str, version: str | None = None) -> ModelCard:
    """Return to an earlier version of a model. No version is removed.

    Parameters
    ----------
    name
        The name of the model.
    version
        The version to use; the one that the current version was fine-tuned from where not given.

    Returns
    -------
    ModelCard
        The card of the version that is in use now.

    Raises
    ------
    BadInput
        If there is no such version, or the model is at its first version.

    Examples
    --------
    >>> from napari_latentseg import adopt_model, revert_model
    >>> card = adopt_model("lesions-tuned")
    >>> revert_model("lesions").version
    '1'
    """
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.versions import revert

    return read_card(revert(name, version))


def discard_model(candidate: str | Path) -> None:
    """Remove a fine-tuned model that was not adopted, or a fine-tuning that was interrupted.

    Parameters
    ----------
    candidate
        The name of a candidate, or its folder.

    Raises
    ------
    BadInput
        If there is no such candidate. An adopted model is removed by `remove_model`.

    Examples
    --------
    >>> from napari_latentseg import discard_model, list_candidates
    >>> discard_model("lesions-tuned")
    >>> list_candidates()
    {}
    """
    from napari_latentseg.finetuning.interrupted import discard_interrupted
    from napari_latentseg.models.candidates import discard

    if not discard_interrupted(str(candidate)):
        discard(candidate)
