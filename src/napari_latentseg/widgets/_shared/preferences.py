"""The preferences under Preferences > LatentSeg.

napari 0.9 shows the manifest's `configurations` there and stores them beside its own settings. For earlier
versions the same fields can be set in `settings.json` in the default data folder, see `data_home`.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.atomic import atomic_path
from napari_latentseg.utils.json_text import load_json
from napari_latentseg.utils.paths import HOME_ENV_VAR, data_home, written_path
from napari_latentseg.widgets._shared.plain_text import show_warning

__all__ = ["Preferences", "keep_reader", "preferences", "use_data_folder"]

_PLUGIN = "napari-latentseg"
_PAGE = "general"  # the key of the manifest's `configurations`
# folder of settings.json while the preference `data_folder`, which is read from it, overrides `data_home`
_settings_folder: Path | None = None


class Preferences(FrozenModel):
    """Default values of the widgets.

    Attributes
    ----------
    samples
        Samples of a run, up to 100; 0 for the number in the model card.
    device
        ``"auto"`` uses the fastest available.
    memory_gb
        Memory limit of a run without its model, in GB.
    data_folder
        Folder of installed models and approved masks; empty for the default folder of the user.
    deidentify
        Whether exports leave out patient-identifying metadata.
    autosave_s
        Seconds between autosaves of a mask that is being edited.
    reader
        The name or initials under which masks are approved; empty where nobody said.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    samples: int = Field(0, ge=0, le=100)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    memory_gb: float = Field(2.0, ge=0.25, le=1024)
    data_folder: str = ""
    deidentify: bool = True
    autosave_s: int = Field(5, ge=1, le=600)
    reader: str = Field("", max_length=60)


def use_data_folder() -> None:
    """Use the data folder of the preferences, unless the environment variable sets one."""
    global _settings_folder
    written = preferences().data_folder.strip()
    if not written or HOME_ENV_VAR in os.environ:
        return
    folder = written_path(written)
    if not folder.is_absolute():  # it would be another folder wherever napari is started
        _warn_once(f"Data folder {written!r} is not used: give its whole path in Preferences")
        return
    if folder.exists() and not folder.is_dir():
        _warn_once(f"Data folder {written!r} is not used: it is a file, choose a folder in Preferences")
        return
    _settings_folder = data_home()
    os.environ[HOME_ENV_VAR] = str(folder)  # inherited by child processes


def preferences() -> Preferences:
    """Read the preferences; an invalid value is replaced by its default, with one warning per session."""
    return _validated(_read_stored())


def keep_reader(name: str) -> None:
    """Keep the name of the reader for this and further sessions.

    Raises
    ------
    BadInput
        If the settings cannot be written.
    """
    page = _napari_page()
    if page is not None and hasattr(page, "reader"):
        page.reader = name
        return
    path = _settings_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(_read_stored() | {"reader": name}, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise BadInput(
            path, f"cannot be written ({error.strerror})", "ask for permission to write it"
        ) from error


def _settings_file() -> Path:
    return (_settings_folder or data_home()) / "settings.json"


def _napari_page() -> Any:
    """The settings of this plugin in napari, one attribute per preference; None where napari has none."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:  # before 0.9
        return None
    try:
        return getattr(get_plugin_settings(_PLUGIN), _PAGE)
    except (KeyError, AttributeError):  # the plugin is not registered, or its manifest is an earlier one
        return None


def _read_stored() -> dict[str, Any]:
    page = _napari_page()
    if page is not None:
        return {name: getattr(page, name) for name in Preferences.model_fields if hasattr(page, name)}
    try:
        values = load_json(_settings_file().read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        _warn_once("settings.json cannot be read; the default preferences are used")
        return {}
    return values if isinstance(values, dict) else {}


def _validated(values: dict[str, Any]) -> Preferences:
    try:
        return Preferences.model_validate(values)
    except ValidationError as error:
        invalid_names = {str(problem["loc"][0]) for problem in error.errors()}
        defaults = Preferences()
        for name in sorted(invalid_names):
            _warn_once(f"preference {name!r} cannot be {values[name]!r}; using {getattr(defaults, name)!r}")
        return Preferences.model_validate({k: v for k, v in values.items() if k not in invalid_names})


@cache
def _warn_once(text: str) -> None:
    """Show each warning once per session."""
    show_warning(text)
