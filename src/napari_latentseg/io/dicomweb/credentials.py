"""User, password and token of an archive: from the environment or the system's keyring, and never written."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicomweb.address import ArchiveAddress

__all__ = ["KEYRING_SERVICE", "Credentials", "find_credentials"]

SERVER, TOKEN = "LATENTSEG_ARCHIVE_SERVER", "LATENTSEG_ARCHIVE_TOKEN"
USER, PASSWORD = "LATENTSEG_ARCHIVE_USER", "LATENTSEG_ARCHIVE_PASSWORD"
KEYRING_SERVICE = "napari-latentseg:{}"
"""The name of an entry of the keyring; host and port stand in the braces."""
_TOKEN_USER = "token"  # the user of an entry of the keyring whose password is a bearer token


@dataclass(frozen=True)
class Credentials:
    """What an archive is shown. The `repr` is empty.

    Attributes
    ----------
    user, password
        Of HTTP's basic authentication.
    token
        A bearer token, used instead of them.
    """

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


def find_credentials(address: ArchiveAddress) -> Credentials | None:
    """The credentials for one server; None where there are none.

    Parameters
    ----------
    address
        Of the server. Credentials of the environment are for the server that ``LATENTSEG_ARCHIVE_SERVER``
        names (``host`` or ``host:port``), so that an address in a list cannot ask for those of another.

    Raises
    ------
    BadInput
        If the environment holds credentials without a server, or they would be sent without encryption.
    """
    found = _from_environment(address) or _from_keyring(address)
    if found is not None and address.protocol == "http" and not address.is_loopback:
        raise BadInput(
            address.title, "would be sent the password without encryption", "use dicomweb:// (HTTPS)"
        )
    return found


def _from_environment(address: ArchiveAddress) -> Credentials | None:
    values = {name: os.environ.get(name, "") for name in (SERVER, TOKEN, USER, PASSWORD)}
    if not (values[TOKEN] or values[USER]):
        return None
    if not values[SERVER]:
        raise BadInput(
            TOKEN if values[TOKEN] else USER, "is set without its server", f"set {SERVER} to HOST:PORT"
        )
    if values[SERVER].lower() not in (address.server, address.host):
        return None
    if values[TOKEN]:
        return Credentials(token=values[TOKEN])
    return Credentials(values[USER], values[PASSWORD])


def _from_keyring(address: ArchiveAddress) -> Credentials | None:
    try:
        import keyring
    except ImportError:
        return None
    try:
        entry = keyring.get_credential(KEYRING_SERVICE.format(address.server), None)
    except Exception:  # a keyring that is locked, or missing on this system, raises what it likes
        return None
    if entry is None:
        return None
    if entry.username == _TOKEN_USER:
        return Credentials(token=entry.password)
    return Credentials(entry.username or "", entry.password)
