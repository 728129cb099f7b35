"""Conversion of the weights that the authors of GMS published, to the names of `LatentMappingModel`.

Their repository (King-HAW/GMS, `networks/latent_mapping_model.py`, class `ResAttnUNet_DS`) saves
``{"model": state_dict}``. The network is the same layer by layer; `KEY_MAP` translates the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.weights import read_torch_state

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["KEY_MAP", "STATE_DICT_KEYS", "read_gms_checkpoint"]

STATE_DICT_KEYS = ("model", "state_dict")
"""Keys under which the state dict may be stored in a checkpoint file."""

_BLOCKS = {
    "conv1_0": "down.0",
    "conv2_0": "down.1",
    "conv3_0": "down.2",
    "conv4_0": "down.3",
    "conv3_1": "up.0",
    "conv2_2": "up.1",
    "conv1_3": "up.2",
    "conv0_4": "up.3",
}
_HEADS = {"convds3": "level3", "convds2": "level2", "convds1": "level1", "convds0": "out"}
_BLOCKS_WITH_SKIP_CONV = ("conv2_0", "conv3_0", "conv3_1", "conv2_2", "conv1_3", "conv0_4")
_LAYERS = {
    "resblock.conv1.0": "0.norm1",
    "resblock.conv1.2": "0.conv1",
    "resblock.conv2.0": "0.norm2",
    "resblock.conv2.2": "0.conv2",
    "attention.norm": "1.norm",
    "attention.q": "1.query",
    "attention.k": "1.key",
    "attention.v": "1.value",
    "attention.proj_out": "1.out",
}


def _key_map() -> dict[str, str]:
    key_map = {f"input_blocks.{parameter}": f"stem.{parameter}" for parameter in ("weight", "bias")}
    for published_name, own_name in _BLOCKS.items():
        for published_layer, own_layer in _LAYERS.items():
            for leaf in ("weight", "bias"):
                key_map[f"{published_name}.{published_layer}.{leaf}"] = f"{own_name}.{own_layer}.{leaf}"
        for number in ("1", "2"):
            key_map[f"{published_name}.resblock.act{number}.weight"] = f"{own_name}.0.act{number}.weight"
        if published_name in _BLOCKS_WITH_SKIP_CONV:
            key_map[f"{published_name}.resblock.skip_connection.weight"] = f"{own_name}.0.skip.weight"
    for published_name, own_name in _HEADS.items():
        for leaf in ("0.weight", "0.bias", "2.weight"):
            key_map[f"{published_name}.{leaf}"] = f"heads.{own_name}.{leaf}"
    return key_map


KEY_MAP: dict[str, str] = _key_map()
"""From the name of each weight in the published files to its name in `LatentMappingModel`."""


def read_gms_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a published checkpoint as a state dict of `LatentMappingModel`.

    Parameters
    ----------
    path
        A .pth file; no code in it is run. The state dict may be stored under one of `STATE_DICT_KEYS`, and
        its names may start with ``"module."``, from training on several GPUs.

    Raises
    ------
    BadInput
        If it is not such a file, or a weight is missing or unknown.
    """
    state = read_torch_state(path, STATE_DICT_KEYS)
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    state = _drop_duplicate_names(state, path)
    missing, extra = sorted(KEY_MAP.keys() - state.keys()), sorted(state.keys() - KEY_MAP.keys())
    if missing or extra:
        raise BadInput(
            path,
            f"is not a latent mapping model of GMS: {len(missing)} weights missing, {len(extra)} unknown"
            f" (first: {(missing + extra)[0]})",
            "give a checkpoint of the official ResAttnUNet_DS",
        )
    return {KEY_MAP[name]: value for name, value in state.items()}


def _drop_duplicate_names(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Drop the second names of activations (`conv1.1` for `act1`), under which weights are saved twice.

    Raises
    ------
    BadInput
        If the two values differ.
    """
    deduplicated = dict(state)
    for block in _BLOCKS:
        for number in ("1", "2"):
            name, duplicate = (
                f"{block}.resblock.act{number}.weight",
                f"{block}.resblock.conv{number}.1.weight",
            )
            duplicate_value = deduplicated.pop(duplicate, None)
            if duplicate_value is not None and not (
                name in deduplicated and deduplicated[name].equal(duplicate_value)
            ):
                raise BadInput(path, f"weights {name} and {duplicate} differ", "they must be the same")
    return deduplicated
