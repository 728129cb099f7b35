"""The methods, with what is trained in each and how large it is."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import torch
from torch import nn

from napari_latentseg.codecs.architectures import PUBLISHED, empty_codec, empty_codec_at
from napari_latentseg.codecs.base import Codec
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.registry import METHODS, build_method
from napari_latentseg.models.store import embedded_codec
from napari_latentseg.training.config import TrainingConfig, load_config, named_configs

__all__ = ["describe_methods"]

_SMALL = "-small"


def describe_methods() -> list[dict[str, Any]]:
    """Every method: its paper, its configurations, the parameters of its parts, its sampling sources.

    The parameters are counted at the paper's configuration, on a device without memory. That is the first
    whose name begins with the method's, is not ``"-small"``, and departs from the paper in nothing; where all
    do, the first of them.

    Returns
    -------
    list of dict
        ``name``, ``title``, ``paper``; ``configurations`` (each with ``name`` and ``kind``: ``"paper"``,
        ``"small"`` or ``"other"``); ``parameters`` (``configuration``, ``codec``, ``variant``, and by part
        ``trainable`` and ``frozen``); ``sources``.
    """
    configs = [load_config(name) for name in named_configs()]
    return [_described(cls, [c for c in configs if c.method == name]) for name, cls in METHODS.items()]


def _described(cls: type[Method], configs: list[TrainingConfig]) -> dict[str, Any]:
    full = [c for c in configs if c.name.startswith(f"{cls.name}-") and not c.name.endswith(_SMALL)]
    if not full:  # its settings' own defaults, which are the paper's
        full = [TrainingConfig(method=cls.name, codec=next(iter(PUBLISHED)) if cls.needs_codec else None)]
    built = {c.name: (c, _empty(c)) for c in sorted(full, key=lambda c: c.name)}
    exact = [name for name, (_, method) in built.items() if not method.variant]
    chosen = next(iter(exact or built))
    return {
        "name": cls.name,
        "title": cls.title,
        "paper": cls.paper,
        "configurations": [
            {"name": c.name, "kind": _kind(c.name, exact or list(built)[:1])}
            for c in sorted(configs, key=lambda c: (c.name != chosen, c.name))
        ],
        "parameters": _parameters(*built[chosen]),
        "sources": list(built[chosen][1].sources(members=2)),
    }


def _kind(name: str, papers: list[str]) -> str:
    if name in papers:
        return "paper"
    return "small" if name.endswith(_SMALL) else "other"


def _empty(config: TrainingConfig) -> Method:
    """The method of a configuration on the meta device."""
    codec: Codec | None = None
    if config.codec is not None:
        codec = empty_codec(config.codec) or empty_codec_at(embedded_codec())
    with torch.device("meta"):
        return build_method(config.method, codec, config.settings)


def _parameters(config: TrainingConfig, method: Method) -> dict[str, Any]:
    trained = method.trained
    taught = {id(p) for p in trained.parameters()}
    frozen = {name: _count(part, taught) for name, part in method.named_children()}
    return {
        "configuration": config.name,
        "codec": config.codec,
        "variant": method.variant,
        "trainable": {name: count for name, part in trained.items() if (count := _count(part))},
        "frozen": {name: count for name, count in frozen.items() if count},
    }


def _count(module: nn.Module, without: Set[int] = frozenset()) -> int:
    return sum(p.numel() for p in module.parameters() if id(p) not in without)
