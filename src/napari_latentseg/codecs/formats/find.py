"""Which files of a folder are an autoencoder, in any of the published layouts. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.json_text import load_json

__all__ = [
    "CODEC_CONFIG",
    "CODEC_WEIGHTS",
    "COPY_REMEDY",
    "DIFFUSERS_CONFIG",
    "CodecFiles",
    "Layout",
    "find_codec_files",
    "read_json_object",
]

Layout = Literal["own", "diffusers", "taef2", "taesd", "ldm"]

CODEC_CONFIG = "codec.json"
CODEC_WEIGHTS = "codec.safetensors"
DIFFUSERS_CONFIG = "config.json"
_DIFFUSERS_STEM = "diffusion_pytorch_model"
_DIFFUSERS_WEIGHTS = f"{_DIFFUSERS_STEM}.safetensors"
# In the order of preference: full precision before half, safetensors before pickles.
_DIFFUSERS_NAMES = (
    _DIFFUSERS_WEIGHTS,
    f"{_DIFFUSERS_WEIGHTS}.index.json",
    f"{_DIFFUSERS_STEM}.fp16.safetensors",
    f"{_DIFFUSERS_WEIGHTS}.index.fp16.json",
    f"{_DIFFUSERS_STEM}.bin",
    f"{_DIFFUSERS_STEM}.bin.index.json",
    f"{_DIFFUSERS_STEM}.fp16.bin",
)
_PAIRS: tuple[Literal["taef2", "taesd"], ...] = ("taef2", "taesd")
_PAIR_SUFFIXES = (".safetensors", ".pth")
_CHECKPOINT_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")
_MAX_INDEX_BYTES = 16 * 2**20  # an index has a line for each weight, of which autoencoders have hundreds

COPY_REMEDY = "copy the folder again"


@dataclass(frozen=True)
class CodecFiles:
    """The files of an autoencoder.

    Attributes
    ----------
    layout
        ``"own"`` (this project's), ``"diffusers"``, ``"taef2"`` and ``"taesd"`` (encoder and decoder, each in
        a file), or ``"ldm"`` (one checkpoint of the latent diffusion models' code).
    weights
        The files of weights: one; encoder and decoder; or the parts of sharded weights, by name.
    config
        The file of settings, where the layout has one.
    index
        The index of sharded weights.
    """

    layout: Layout
    weights: tuple[Path, ...]
    config: Path | None = None
    index: Path | None = None

    @property
    def all_files(self) -> tuple[Path, ...]:
        """Everything that must be copied, to have the autoencoder elsewhere."""
        return (*filter(None, (self.config, self.index)), *self.weights)


def find_codec_files(path: Path) -> CodecFiles:
    """The files of an autoencoder, by their names; no weights are read.

    Parameters
    ----------
    path
        A folder in one of the layouts, or the file of an LDM checkpoint, or one file of a pair of encoder and
        decoder.

    Raises
    ------
    BadInput
        If there is no autoencoder, a part of it is missing, or a folder holds two.
    """
    if path.is_file():
        return _from_file(path)
    if not path.is_dir():
        raise BadInput(path, "no such file or folder", "give a folder or file that holds an autoencoder")
    if (path / CODEC_CONFIG).is_file():
        return CodecFiles("own", (_require_file(path / CODEC_WEIGHTS),), path / CODEC_CONFIG)
    pairs = [name for name in _PAIRS if any(file.is_file() for file in _pair_candidates(path, name))]
    has_diffusers_config = (path / DIFFUSERS_CONFIG).is_file()
    if "taesd" in pairs and has_diffusers_config:
        pairs.remove("taesd")  # its repository on the hub has the same weights in both layouts
    if len(pairs) > 1:
        raise BadInput(
            path, f"holds several autoencoders ({', '.join(pairs)})", f"give the file {pairs[0]}_encoder"
            f" or {pairs[1]}_encoder of the one that you mean",
        )  # fmt: skip
    if pairs:
        return _from_pair(path, pairs[0])
    for folder in (path, path / "vae"):
        if (folder / DIFFUSERS_CONFIG).is_file():
            return _from_diffusers(folder)
    return _from_checkpoint_folder(path)


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises
    ------
    BadInput
        If it cannot be read, or is something else than an object.
    """
    try:
        value = load_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(path, "is not readable as JSON", COPY_REMEDY) from error
    if not isinstance(value, dict):
        raise BadInput(path, "is not a JSON object", COPY_REMEDY)
    return value


def _require_file(path: Path) -> Path:
    if not path.is_file():
        raise BadInput(path, "no such file", COPY_REMEDY)
    return path


def _from_file(path: Path) -> CodecFiles:
    pair = next((name for name in _PAIRS if path in _pair_candidates(path.parent, name)), None)
    if pair is not None:
        return _from_pair(path.parent, pair)
    if path.suffix.lower() not in _CHECKPOINT_SUFFIXES:
        raise BadInput(
            path,
            "is not a file of weights",
            f"give a folder that holds an autoencoder, or a file of {', '.join(_CHECKPOINT_SUFFIXES)}",
        )
    if path.name == CODEC_WEIGHTS or path.name.startswith(_DIFFUSERS_STEM):
        raise BadInput(path, "is one of the files of an autoencoder", "give the folder that it lies in")
    return CodecFiles("ldm", (path,))


def _from_checkpoint_folder(folder: Path) -> CodecFiles:
    checkpoints = sorted(p for p in folder.iterdir() if p.suffix.lower() in _CHECKPOINT_SUFFIXES)
    if len(checkpoints) == 1 and not checkpoints[0].name.startswith(_DIFFUSERS_STEM):
        return CodecFiles("ldm", (checkpoints[0],))
    remedy = f"give a folder with a {DIFFUSERS_CONFIG} and a {_DIFFUSERS_WEIGHTS}"
    if checkpoints:
        remedy += ", or one of the checkpoints in it"
    raise BadInput(folder, "holds no autoencoder", remedy)


def _pair_candidates(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}_{half}{end}" for half in ("encoder", "decoder") for end in _PAIR_SUFFIXES]


def _from_pair(folder: Path, name: Literal["taef2", "taesd"]) -> CodecFiles:
    files = []
    for half in ("encoder", "decoder"):
        safetensors, pickled = (folder / f"{name}_{half}{end}" for end in _PAIR_SUFFIXES)
        files.append(safetensors if safetensors.is_file() else _require_file(pickled))
    return CodecFiles(name, tuple(files))


def _from_diffusers(folder: Path) -> CodecFiles:
    config = folder / DIFFUSERS_CONFIG
    for name in _DIFFUSERS_NAMES:
        path = folder / name
        if not path.is_file():
            continue
        if path.suffix != ".json":
            return CodecFiles("diffusers", (path,), config)
        return CodecFiles("diffusers", _shards(path), config, index=path)
    parts = sorted(folder.glob(f"{_DIFFUSERS_STEM}-*-of-*"))
    if parts:
        raise BadInput(
            parts[0], "is a part of sharded weights whose index is missing", f"copy {_DIFFUSERS_NAMES[1]} too"
        )
    raise BadInput(folder, f"has no {_DIFFUSERS_WEIGHTS}", "choose a folder that has the weights too")


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that an index of sharded weights names, by name.

    Raises
    ------
    BadInput
        If it is no index, names a file elsewhere, or one that is missing.
    """
    if index.stat().st_size > _MAX_INDEX_BYTES:
        raise BadInput(index, "is far too large for an index of weights", COPY_REMEDY)
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise BadInput(index, "says nothing about weights (weight_map)", COPY_REMEDY)
    names = set(weight_map.values()) if all(isinstance(v, str) for v in weight_map.values()) else {""}
    if unusable := sorted(n for n in names if not n.startswith(_DIFFUSERS_STEM) or Path(n).name != n):
        raise BadInput(index, f"names {unusable[0]!r}, which is not a file of weights beside it", COPY_REMEDY)
    for name in sorted(names):
        if not (index.parent / name).is_file():
            raise BadInput(
                index,
                f"names {name}, which is missing",
                f"copy that file too: the weights are in {len(names)} files",
            )
    return tuple(index.parent / name for name in sorted(names))
