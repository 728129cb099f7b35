"""Folders that diffusers writes: `config.json`, and the weights as one file or in parts."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_latentseg.codecs.formats.find import COPY_REMEDY, CodecFiles, read_json_object
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.weights import read_state

if TYPE_CHECKING:
    from torch import Tensor

    from napari_latentseg.codecs.spec import Kind

__all__ = ["read_diffusers_config", "read_diffusers_state"]

_KINDS: dict[str, Kind] = {"AutoencoderKL": "kl", "AutoencoderTiny": "tiny", "VQModel": "vq"}
# Names of attention layers before diffusers 0.14; sd-vae-ft-mse has them to this day.
_FORMER_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def read_diffusers_config(files: CodecFiles) -> tuple[Kind, dict[str, Any]]:
    """Kind and settings of the autoencoder in a folder.

    Settings that the class does not take are left out: `AutoencoderTiny` itself writes some of them.

    Raises
    ------
    BadInput
        If the settings cannot be read, or are those of another class.
    """
    import diffusers

    assert files.config is not None
    config = read_json_object(files.config)
    name = config.get("_class_name")
    if name not in _KINDS:
        raise BadInput(
            f"{files.config}, _class_name", f"is {name!r}", "use an AutoencoderKL, AutoencoderTiny or VQModel"
        )
    known = inspect.signature(getattr(diffusers, name).__init__).parameters.keys() - {"self"}
    return _KINDS[name], {key: value for key, value in config.items() if key in known}


def read_diffusers_state(files: CodecFiles) -> dict[str, Tensor]:
    """The weights of a folder, under their present names.

    Raises
    ------
    BadInput
        If a file is damaged, or the parts do not hold what the index says.
    """
    state: dict[str, Tensor] = {}
    for path in files.weights:
        part = read_state(path, remedy=COPY_REMEDY)
        if twice := sorted(part.keys() & state.keys()):
            raise BadInput(path, f"holds weight {twice[0]}, which is in another part too", COPY_REMEDY)
        state |= part
    if files.index is not None:
        named = read_json_object(files.index)["weight_map"].keys()
        if missing := sorted(named - state.keys()):
            raise BadInput(
                files.index,
                f"names {len(missing)} weights that no part holds (first: {missing[0]})",
                COPY_REMEDY,
            )
    return _with_present_names(state)


def _with_present_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in state.items():
        module, _, leaf = name.rpartition(".")
        parent, _, layer = module.rpartition(".")
        if ".attentions." in f"{parent}." and layer in _FORMER_ATTENTION:
            name = f"{parent}.{_FORMER_ATTENTION[layer]}.{leaf}"
        renamed[name] = value
    return renamed
