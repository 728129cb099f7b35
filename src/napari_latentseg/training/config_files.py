"""Configurations of trainings as JSON files: those of the package, and those that extend another one."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_latentseg.errors import BadInput, choose_from
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.utils.field_errors import wrong_field
from napari_latentseg.utils.json_text import load_json

__all__ = ["load_config", "named_configs"]


def named_configs() -> dict[str, Path]:
    """The configurations that come with the package, by name; not those that train a codec."""
    folder = Path(str(files("napari_latentseg.training"))) / "configs"
    return {p.stem: p for p in sorted(folder.glob("*.json")) if not p.stem.startswith("codec-")}


def load_config(name: str | Path) -> TrainingConfig:
    """A configuration by name, or from a JSON file.

    A file with ``"extends": "NAME"`` has the fields of that configuration, of the package or in a file beside
    it, and changes those that it names itself; in `settings`, `preprocess` and other groups, single fields.

    Raises
    ------
    BadInput
        If there is no such configuration, or a field is not valid.
    """
    configs = named_configs()
    path = configs.get(str(name), Path(name))
    try:
        if not path.is_file():
            raise BadInput(name, "no such configuration", choose_from(str(name), list(configs)))
        content = _read_fields(path, ())
        # as JSON, and strictly: otherwise "3" and true would be numbers
        config = TrainingConfig.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        field, why, remedy = wrong_field(error, TrainingConfig)
        raise BadInput(f"{path.name}, {field or 'the whole file'}", why, remedy) from error
    except OSError as error:
        raise BadInput(path, "cannot be read", "check the file") from error
    return config if config.name else config.replace(name=path.stem)


def _read_fields(path: Path, extending: tuple[Path, ...]) -> Any:
    """The fields of a file, on top of those of the configuration that it extends."""
    if path in extending:
        raise BadInput(path, "extends itself", "name another configuration in extends")
    try:
        text = path.read_text("utf-8-sig")  # editors of Windows begin a file with the mark
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, "cannot be read", "check the file") from error
    try:
        fields = load_json(text, once=True)
    except ValueError as error:
        raise BadInput(f"{path.name}, the whole file", f"is not valid JSON: {error}", "correct it") from error
    if not isinstance(fields, dict) or not fields.get("extends"):
        return fields
    base_name = fields["extends"]
    if not isinstance(base_name, str):
        raise BadInput(f"{path.name}, extends", "must be the name of a configuration", "correct it")
    base_path = named_configs().get(base_name, path.parent / base_name)
    if not base_path.is_file():
        remedy = choose_from(base_name, named_configs())
        raise BadInput(f"{path.name}, extends", f"no configuration {base_name!r}", remedy)
    base = _read_fields(base_path, (*extending, path))
    if not isinstance(base, dict):
        raise BadInput(f"{base_path.name}, the whole file", "must be a set of names and values", "correct it")
    # what is said of the base alone
    base = {key: value for key, value in base.items() if key not in ("name", "ablation")}
    return _merged(base, fields)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Fields with changes, group by group; lists and single values are replaced."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
