"""Removing one version of a model."""

from __future__ import annotations

from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.models.install import reset_current_version
from napari_latentseg.models.versions import list_versions, revert
from napari_latentseg.utils.atomic import remove_folder

__all__ = ["remove_version"]


def remove_version(name: str, version: str) -> Path:
    """Remove one version of a model; the others stay.

    If it was the current one, the version that it was fine-tuned from is current then, or else the newest.

    Parameters
    ----------
    name
        Name of the model.
    version
        Its number, as text.

    Returns
    -------
    Path
        Its folder, which was removed.

    Raises
    ------
    BadInput
        If there is no such version, or it came with the package.
    """
    versions = list_versions(name)
    target = next((candidate for candidate in versions if candidate.version == version), None)
    if target is None:
        raise BadInput(
            name, f"has no version {version}", f"use one of {', '.join(v.version for v in versions)}"
        )
    if target.origin == "package":
        raise BadInput(f"{name} {version}", "came with the package, and stays", "remove another version")
    if target.is_current:
        others = [candidate for candidate in versions if candidate is not target]
        if others:
            parents = [c.version for c in others if target.parent == f"{name} {c.version}"]
            revert(name, parents[-1] if parents else others[-1].version)
        else:
            reset_current_version(name)
    remove_folder(target.folder)
    return target.folder
