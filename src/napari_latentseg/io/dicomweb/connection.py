"""A connection to an archive: TLS always verified, no redirects, and every failure in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.io._errors import silence_logger
from napari_latentseg.io.dicom.files import silence_dicom_loggers
from napari_latentseg.io.dicomweb.address import ArchiveAddress
from napari_latentseg.io.dicomweb.credentials import SERVER, TOKEN, USER, Credentials, find_credentials

__all__ = ["CONNECT_S", "SILENCE_S", "connect"]

CONNECT_S = 10.0
"""Seconds within which a server must take the connection."""
SILENCE_S = 60.0
"""Seconds without a byte after which a server counts as gone; one that searches its tapes takes some."""

# they write URLs, which hold UIDs and what was asked for
_LOGGERS = (
    "dicomweb_client", "dicomweb_client.web", "dicomweb_client.session_utils", "dicomweb_client.protocol",
    "requests", "urllib3", "urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry",
    "charset_normalizer", "retrying", "keyring", "keyring.backend",
)  # fmt: skip
_NOT_DICOMWEB = (
    "gives an answer that is not DICOMweb",
    "check the address: the path of the service, such as /dicom-web",
)


@contextmanager
def connect(address: ArchiveAddress) -> Iterator[Any]:
    """A `dicomweb_client.DICOMwebClient` for this block, in which failures become one line.

    Parameters
    ----------
    address
        Of the archive.

    Raises
    ------
    BadInput
        If dicomweb-client is not installed, or for whatever the server does wrong in the block. The message
        names the host, and no UID, patient, user or token.
    """
    try:
        from dicomweb_client.api import DICOMwebClient
    except ImportError:
        raise BadInput(
            "dicomweb-client", "is not installed", "pip install 'napari-latentseg[archive]'"
        ) from None
    with ExitStack() as stack:
        stack.enter_context(silence_dicom_loggers())
        for name in _LOGGERS:
            stack.enter_context(silence_logger(name))
        credentials = find_credentials(address)
        session = stack.enter_context(_make_session(credentials))
        client = DICOMwebClient(address.url, session=session, timeout=(CONNECT_S, SILENCE_S))
        client.set_http_retry_params(retry=False)
        try:
            yield client
        except (BadInput, Cancelled):
            raise
        except Exception as error:
            # without its cause, whose text holds URLs: --verbose would print it
            why, remedy = _reason(error, credentials is not None)
            raise BadInput(address.title, why, remedy) from None


def _make_session(credentials: Credentials | None) -> Any:
    import requests

    class Session(requests.Session):
        """Follows no redirect, which might lead to another server or away from TLS."""

        def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
            # the plugin of Orthanc 1.10 takes %2A as it stands, and a plain * is allowed in a query
            url = str(url).replace("%2A", "*")
            response = super().request(method, url, *args, **{**kwargs, "allow_redirects": False})
            if response.is_redirect:
                raise requests.TooManyRedirects
            return response

    session = Session()
    session.verify = True
    session.auth = _authentication(credentials)
    return session


def _authentication(credentials: Credentials | None) -> Callable[[Any], Any]:
    """Adds the credentials to a request. Set without any too: requests would look into ~/.netrc."""
    from requests.auth import HTTPBasicAuth

    if credentials is not None and not credentials.token:
        basic: Callable[[Any], Any] = HTTPBasicAuth(
            credentials.user.encode("utf-8"), credentials.password.encode("utf-8")
        )
        return basic

    def add_token(request: Any) -> Any:
        if credentials is not None:
            request.headers["Authorization"] = f"Bearer {credentials.token}"
        return request

    return add_token


def _reason(error: Exception, has_credentials: bool) -> tuple[str, str]:
    """What went wrong, in words, and what to do about it."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _status_reason(error.response.status_code, has_credentials)
    if isinstance(error, requests.TooManyRedirects):
        return "redirects to another address", "give that address, if you trust it"
    if isinstance(error, requests.exceptions.SSLError):
        return (
            "has a certificate that cannot be verified",
            "check the address, or name your hospital's authority in REQUESTS_CA_BUNDLE",
        )
    if isinstance(error, requests.ConnectTimeout):
        return f"did not accept a connection within {CONNECT_S:g} s", "check address and network"
    is_silent = isinstance(error, requests.ReadTimeout) or "Read timed out" in str(error)
    if is_silent:
        return f"has sent nothing for {SILENCE_S:g} s", "try again later"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "broke off in the middle of its answer", "try again"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached", "check address and network, and that the server runs"
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return f"could not be copied from ({error.strerror or 'no space or no right'})", "check the disk"
    if isinstance(error, MemoryError):
        return "sent more than fits into memory", "close other programs"
    return _NOT_DICOMWEB


def _status_reason(status: int, has_credentials: bool) -> tuple[str, str]:
    if status == 401:
        if has_credentials:
            return "does not accept the user or token", "check them; they may have expired"
        return (
            "asks who you are (HTTP 401)",
            f"set {SERVER} and {TOKEN}, or {USER} and its password; see docs/archive.md",
        )
    if status == 403:
        return "does not permit this (HTTP 403)", "ask its administrator for the right"
    if status in (404, 410):
        return "found nothing there (HTTP 404)", "check the address: its path, or the series"
    if status in (408, 429, 502, 503, 504):
        return f"is busy (HTTP {status})", "try again later"
    return f"reported an error (HTTP {status})", "ask its administrator"
