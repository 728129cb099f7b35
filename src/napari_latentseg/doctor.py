"""What is installed on this machine, what is missing, and how to install it."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from napari_latentseg.errors import BadInput

__all__ = ["diagnose"]

_PACKAGES = ("napari-latentseg", "napari", "npe2", "magicgui", "torch", "diffusers", "numpy", "scikit-image",
             "tifffile", "nibabel", "safetensors")  # fmt: skip
_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")


def diagnose() -> dict[str, Any]:
    """Check versions, devices, the display, and the files of all models.

    Returns
    -------
    dict
        `facts` by name, and `problems`: each with `what` is missing or damaged, `mend` (what to do about it),
        and `needed` where only a part of the package needs it. JSON can hold all of it.
    """
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }
    problems: list[dict[str, str]] = []
    for name in _PACKAGES:
        facts[name] = _package_version(name) or "not installed"
        if facts[name] == "not installed":
            problems.append({"what": name, "mend": f"pip install {name}"})
    _check_torch(facts, problems)
    _check_display(facts, problems)
    _check_models(facts, problems)
    return {"facts": facts, "problems": problems}


def _check_torch(facts: dict[str, Any], problems: list[dict[str, str]]) -> None:
    try:
        from napari_latentseg.utils.device import (
            available_devices,
            has_native_bfloat16,
            resolve_compute,
            resolve_engine,
        )

        facts["devices"] = ", ".join(f"{k} ({v})" for k, v in available_devices().items())
        compute = resolve_compute()
        is_native = has_native_bfloat16(compute.device)
        facts["engine"] = resolve_engine("auto", compute.device, compute.precision)
        facts["arithmetic"] = f"{compute.precision}, bfloat16 is {'fast' if is_native else 'slow'} here"
    except Exception as error:  # a broken torch can fail in any way
        facts["devices"] = "unknown"
        problems.append(
            {
                "what": f"a working torch ({type(error).__name__})",
                "mend": "pip install --force-reinstall torch",
            }
        )


def _check_display(facts: dict[str, Any], problems: list[dict[str, str]]) -> None:
    binding = next((b for b in _BINDINGS if find_spec(b)), None)
    facts["qt"] = f"{binding} {_package_version(binding)}" if binding else "not installed"
    if binding is None:
        problems.append({"what": "a Qt binding", "mend": 'pip install "napari-latentseg[all]"'})
    if sys.platform in ("win32", "darwin"):
        facts["display"] = "the desktop"
        return
    display = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    facts["display"] = display or "none"
    if not display:
        problems.append(
            {
                "what": "a display (only the windows need it)",
                "mend": "log in at a desktop, or use xvfb-run",
                "needed": "only by the windows",
            }
        )


def _check_models(facts: dict[str, Any], problems: list[dict[str, str]]) -> None:
    from napari_latentseg.codecs.store import list_codecs
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.codec_lookup import locate_codec
    from napari_latentseg.models.layout import check_files
    from napari_latentseg.models.store import data_home, model_folders

    folders = model_folders()
    facts["models"] = ", ".join(folders) or "none"
    facts["codecs"] = ", ".join(codec.name for codec in list_codecs()) or "none kept"
    facts["installed under"] = _home_relative(data_home())
    for name, folder in folders.items():
        try:
            card = read_card(folder)
            check_files(folder, card)
            if card.codec is not None:
                locate_codec(card.codec)
        except BadInput as error:
            # only the last part of a path, which may contain a name: people send this report to others
            problems.append(
                {"what": f"model {name}: {Path(error.what).name} {error.why}", "mend": error.remedy}
            )


def _package_version(name: str) -> str:
    """The version of a distribution; empty where it is not known, as some modules have no metadata."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _home_relative(path: Path) -> str:
    """A path with the home folder as ``~``, so that it does not contain the user's name."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)
