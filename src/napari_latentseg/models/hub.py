"""Codecs from the Hugging Face hub: downloaded only on request, and checked by their hashes."""

from __future__ import annotations

import re
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.weights import file_sha256

__all__ = ["cached_snapshot", "download_codec"]

_DIFFUSERS_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
_ALLOW_PATTERNS = [*_DIFFUSERS_FILES, *(f"vae/{name}" for name in _DIFFUSERS_FILES)]
_SHA256 = re.compile(r"[0-9a-f]{64}")


def cached_snapshot(repository: str, revision: str | None = None) -> Path | None:
    """The folder of a repository in the local cache of the hub; None if it is not there. Never downloads.

    Parameters
    ----------
    repository
        ``"owner/name"``; any other string gives None.
    revision
        A commit, tag or branch; the main branch where not given.
    """
    if "/" not in repository:
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        snapshot = Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=_ALLOW_PATTERNS, local_files_only=True
            )
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return snapshot if _is_complete(snapshot) else None


def download_codec(repository: str, revision: str | None = None) -> Path:
    """Download an autoencoder's configuration and safetensors weights, and no other file.

    The weights are checked against the hub's SHA-256. Files in the cache are not downloaded again.

    Parameters
    ----------
    repository
        ``"owner/name"``.
    revision
        A commit, tag or branch; a commit pins the weights.

    Returns
    -------
    Path
        The snapshot's folder in the hub's cache.

    Raises
    ------
    BadInput
        If the hub cannot be reached, has no such repository, or a download is damaged.
    """
    from huggingface_hub import snapshot_download

    try:
        snapshot = Path(snapshot_download(repository, revision=revision, allow_patterns=_ALLOW_PATTERNS))
    except Exception as error:  # of huggingface_hub, and of the network libraries below it
        raise BadInput(repository, *_explain_hub_error(error, revision)) from error
    if not _is_complete(snapshot):
        raise BadInput(repository, "has no autoencoder as safetensors", "choose another repository")
    for name in _ALLOW_PATTERNS:
        path = snapshot / name
        expected_sha256 = path.resolve().name  # in the cache, a large file is named by its hash
        if path.is_file() and _SHA256.fullmatch(expected_sha256) and file_sha256(path) != expected_sha256:
            raise BadInput(
                path, "is not the file on the hub (its SHA-256 differs)", "delete it and download again"
            )
    return snapshot


def _is_complete(folder: Path) -> bool:
    return any(
        all((candidate / name).is_file() for name in _DIFFUSERS_FILES)
        for candidate in (folder, folder / "vae")
    )


def _explain_hub_error(error: Exception, revision: str | None) -> tuple[str, str]:
    """Reason and remedy for `BadInput`."""
    from huggingface_hub import constants, errors

    local_remedy = "or give a local folder with --codec"
    match error:
        case errors.HFValidationError():
            return "is not the name of a repository", f"write it as owner/name, {local_remedy}"
        case errors.GatedRepoError():
            return "requires agreement to its terms", f"agree on the hub's website, {local_remedy}"
        case errors.RevisionNotFoundError():
            return f"has no revision {revision!r} on the hub", "give one of its commits, tags or branches"
        case errors.RepositoryNotFoundError():
            return "is not on the hub, or is private", f"check the name, {local_remedy}"
        case errors.LocalEntryNotFoundError() if constants.HF_HUB_OFFLINE:
            return "the hub is switched off (HF_HUB_OFFLINE is set)", f"unset it, {local_remedy}"
        case errors.LocalEntryNotFoundError():
            return "the hub cannot be reached", f"check the connection, {local_remedy}"
    return f"could not be downloaded ({type(error).__name__})", f"try again, {local_remedy}"
