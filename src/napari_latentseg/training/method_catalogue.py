"""A list of the methods, with their configurations and numbers of parameters."""

from __future__ import annotations

import json
from collections.abc import Set
from typing import Literal

import torch
from torch import nn

from napari_latentseg.codecs.architectures import KNOWN_CODECS, meta_codec, meta_codec_from_folder
from napari_latentseg.codecs.base import Codec
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.registry import METHODS, build_method
from napari_latentseg.models.store import embedded_codec
from napari_latentseg.models.variant import variant_text
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.config_files import load_config, named_configs
from napari_latentseg.training.method_info import ConfigurationInfo, MethodInfo, ParameterCounts

__all__ = ["describe_methods"]

_SMALL_SUFFIX = "-small"


def describe_methods() -> list[MethodInfo]:
    """Every method: its paper, its configurations, the parameters of its parts, its sampling sources.

    The parameters are counted on torch's meta device, for the paper's configuration: the first whose name
    begins with the method's, does not end in ``"-small"``, extends no other, is no ablation, and does not
    deviate from the paper; where all deviate, the first of them, which is then not called the paper's.
    """
    configs = [load_config(name) for name in named_configs()]
    return [_describe_method(cls, [c for c in configs if c.method == name]) for name, cls in METHODS.items()]


def _describe_method(cls: type[Method], configs: list[TrainingConfig]) -> MethodInfo:
    full_size_configs = [
        c
        for c in configs
        if c.name.startswith(f"{cls.name}-") and not (c.name.endswith(_SMALL_SUFFIX) or c.ablation)
    ]
    if not full_size_configs:  # the defaults of its settings are the paper's
        full_size_configs = [
            TrainingConfig(method=cls.name, codec=next(iter(KNOWN_CODECS)) if cls.needs_codec else None)
        ]
    built: dict[str, Method] = {}  # one network for all data sets, since large ones take a second each
    methods_by_config: dict[str, tuple[TrainingConfig, Method]] = {}
    for c in sorted(full_size_configs, key=lambda c: (bool(c.extends), c.name)):
        key = json.dumps([c.codec, c.settings], sort_keys=True)
        if key not in built:
            built[key] = _meta_method(c)
        methods_by_config[c.name] = c, built[key]
    faithful_configs = [name for name, pair in methods_by_config.items() if not _variant(*pair)]
    main_config = next(iter(faithful_configs or methods_by_config))
    return MethodInfo(
        name=cls.name,
        title=cls.title,
        paper=cls.paper,
        configurations=tuple(
            ConfigurationInfo(
                name=c.name,
                kind=_config_kind(c, faithful_configs),
                ablation=c.ablation,
                variant=_variant(
                    c, methods_by_config[c.name][1] if c.name in methods_by_config else _meta_method(c)
                ),
            )
            for c in sorted(configs, key=lambda c: (c.name != main_config, c.name))
        ),
        parameters=_parameters(*methods_by_config[main_config]),
        sources=tuple(methods_by_config[main_config][1].available_sources(members=2)),
    )


def _variant(config: TrainingConfig, method: Method) -> str:
    return variant_text(method, config.preprocess)


def _config_kind(
    config: TrainingConfig, paper_configs: list[str]
) -> Literal["paper", "ablation", "small", "other"]:
    if config.ablation:
        return "ablation"
    if config.name in paper_configs:
        return "paper"
    return "small" if config.name.endswith(_SMALL_SUFFIX) else "other"


def _meta_method(config: TrainingConfig) -> Method:
    """The method of a configuration on the meta device."""
    codec: Codec | None = None
    if config.codec is not None:
        codec = meta_codec(config.codec) or meta_codec_from_folder(embedded_codec())
    with torch.device("meta"):
        return build_method(config.method, codec, config.settings)


def _parameters(config: TrainingConfig, method: Method) -> ParameterCounts:
    trainable = method.trainable_modules
    trainable_ids = {id(p) for p in trainable.parameters()}
    frozen = {name: _count(module, trainable_ids) for name, module in method.named_children()}
    return ParameterCounts(
        configuration=config.name,
        codec=config.codec,
        variant=method.deviations_from_paper,
        trainable={name: count for name, module in trainable.items() if (count := _count(module))},
        frozen={name: count for name, count in frozen.items() if count},
    )


def _count(module: nn.Module, excluded_ids: Set[int] = frozenset()) -> int:
    return sum(p.numel() for p in module.parameters() if id(p) not in excluded_ids)
