"""The description of a method; no torch is needed to read it."""

from __future__ import annotations

from typing import ClassVar, Literal

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["ConfigurationInfo", "MethodInfo", "ParameterCounts"]


class ConfigurationInfo(FrozenModel):
    """A training configuration of a method, and what it is.

    Attributes
    ----------
    name
        The name.
    kind
        ``"paper"``: the paper's; ``"ablation"``: of one of its ablations; ``"small"``: for a CPU; or
        ``"other"``.
    ablation
        Of an ablation: which table and row.
    variant
        How the method departs from the paper in it; empty where it does not.
    """

    name: str
    kind: Literal["paper", "ablation", "small", "other"]
    ablation: str = ""
    variant: str = ""


class ParameterCounts(FrozenModel):
    """The number of parameters in each part of a method.

    Attributes
    ----------
    configuration
        The configuration that they were counted at; empty for the method's own defaults.
    codec
        Its codec; None where the method has none.
    variant
        How the configuration departs from the paper; empty where it does not.
    trainable, frozen
        The number of parameters, by part.
    """

    configuration: str
    codec: str | None
    variant: str
    trainable: dict[str, int]
    frozen: dict[str, int]


class MethodInfo(FrozenModel):
    """A segmentation method: its paper, its configurations, its size, and where its samples can come from.

    Attributes
    ----------
    name, title, paper
        The key, the name as the paper spells it, and the reference.
    configurations
        The training configurations; the first is the one that the parameters are counted at.
    parameters
        The number of parameters, by part.
    sources
        The sampling sources that it offers, see `napari_latentseg.core.record.SAMPLING_SOURCES`.

    Examples
    --------
    >>> from napari_latentseg import list_methods
    >>> gms = list_methods()[0]
    >>> gms.name, gms.parameters.trainable
    ('gms', {'mapper': 1564976})
    """

    _fields_shown: ClassVar[tuple[str, ...]] = ("name", "title")

    name: str
    title: str
    paper: str
    configurations: tuple[ConfigurationInfo, ...]
    parameters: ParameterCounts
    sources: tuple[str, ...]
