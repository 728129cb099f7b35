"""Archives whose addresses a person has asked to remember: neither what was asked for, nor a password."""

from __future__ import annotations

import json
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicomweb.address import parse_address
from napari_latentseg.utils.atomic import atomic_path
from napari_latentseg.utils.json_text import load_json
from napari_latentseg.utils.paths import data_home

__all__ = ["forget_server", "save_server", "saved_servers", "server_text"]

_FILE = "archives.json"


def server_text(address: str) -> str:
    """The address of the server alone, without what it is asked for.

    Raises
    ------
    BadInput
        If it is not an address of an archive.

    Examples
    --------
    >>> server_text("dicomweb://pacs.example.org/dicom-web?patient=4711")
    'dicomweb://pacs.example.org/dicom-web'
    """
    return parse_address(address).without_query().text


def saved_servers() -> list[str]:
    """The remembered addresses, in alphabetical order; none where the file is missing or damaged."""
    try:
        saved = load_json((_path()).read_text("utf-8"))
    except (OSError, ValueError):
        return []
    servers = []
    for address in saved if isinstance(saved, list) else []:
        try:
            servers.append(server_text(address))
        except BadInput:
            continue
    return sorted(set(servers))


def save_server(address: str) -> None:
    """Remember a server.

    Raises
    ------
    BadInput
        If it is not an address of an archive, or cannot be written.
    """
    _write({*saved_servers(), server_text(address)})


def forget_server(address: str) -> None:
    """Forget a server; one that was not remembered is passed over.

    Raises
    ------
    BadInput
        If it is not an address of an archive, or cannot be written.
    """
    _write(set(saved_servers()) - {server_text(address)})


def _path() -> Path:
    return data_home() / _FILE


def _write(servers: set[str]) -> None:
    try:
        _path().parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(_path()) as temporary:
            temporary.write_text(json.dumps(sorted(servers), indent=2) + "\n", "utf-8")
    except OSError as error:
        raise BadInput(_FILE, f"cannot be written ({error.strerror})", "check the data folder") from error
