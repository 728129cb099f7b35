"""Reach workers: those of a scheduler that runs already, or workers of our own on this machine."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import multiprocessing.process
import os
import re
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.scratch import make_scratch_folder, remove_scratch_folder
from napari_latentseg.utils.threads import thread_variables

__all__ = ["check_address", "check_distributed", "connected", "local_workers", "silence_logs"]

_ADDRESS = re.compile(r"(?:(?:tcp|tls)://)?(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*):(\d{1,5})")
_CONNECT_S = 5.0
_START_S = 120.0  # imports from a slow disk; workers on a quick one are there in three seconds
_CLOSE_S = 5.0
_WORKER_NAME = "Dask Worker process"  # as dask calls those that it starts
_LOGS = ("distributed", "tornado", "asyncio")
_HOW_TO_START = "start it with `dask scheduler`, and give the address that it prints"
_LOCAL_CONFIG = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    # a worker holds no data of dask that could be moved to the disk, and one that paused might never go on
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.admin.tick.limit": "1 hour",  # its warnings are about interactive use
}


def check_distributed(option: str) -> None:
    """Refuse workers where dask.distributed is not installed.

    Parameters
    ----------
    option
        That asks for it.

    Raises
    ------
    BadInput
        If it is missing.
    """
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise BadInput(
            option,
            "needs dask.distributed, which is not installed",
            "run: pip install 'napari-latentseg[scale]'",
        ) from error


def check_address(address: str) -> None:
    """Refuse what can be neither the address of a scheduler nor the file that it writes.

    Parameters
    ----------
    address
        ``"tcp://node7:8786"``, ``"node7:8786"``, or the file of `dask scheduler --scheduler-file`.

    Raises
    ------
    BadInput
        If it is neither.

    Examples
    --------
    >>> check_address("tcp://127.0.0.1:8786")
    """
    if Path(address).is_file():
        return
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[1]) < 65536:
        remedy = "write tcp://HOST:8786, or the file that `dask scheduler --scheduler-file` wrote"
        raise BadInput(f"scheduler {address!r}", "is neither an address nor a file", remedy)


@contextmanager
def _quiet_dask() -> Iterator[None]:
    """Keep what dask logs and warns about off the terminal: it names tasks and addresses."""
    levels = silence_logs()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"distributed\..*")
            yield
    finally:
        for log, level in levels.items():
            log.setLevel(level)


def silence_logs() -> dict[logging.Logger, int]:
    """Silence the logs of dask in this process; gives the levels of before."""
    import distributed  # noqa: F401  (gives several of its loggers a level of their own)

    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in _LOGS]
    levels = {log: log.level for log in map(logging.getLogger, names)}
    for log in levels:
        log.setLevel(logging.CRITICAL + 1)
    return levels


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Give a client of a scheduler that runs already.

    Parameters
    ----------
    address
        See `check_address`.

    Raises
    ------
    BadInput
        If it cannot be reached, or is of another version.
    """
    import distributed

    name = f"scheduler {address}"
    with _quiet_dask():
        try:
            address = _address_in(address)
            with ThreadPoolExecutor(1) as thread:  # a notebook has an event loop in this one
                thread.submit(asyncio.run, _greet(address)).result()
            client = distributed.Client(
                address, timeout=_CONNECT_S, set_as_default=False, name="napari-latentseg"
            )
        except (OSError, TimeoutError) as error:
            raise BadInput(name, f"cannot be reached within {_CONNECT_S:.0f} s", _HOW_TO_START) from error
        except Exception as error:  # a file that is no scheduler file, a server of another kind
            why = f"is not a scheduler of dask ({type(error).__name__})"
            raise BadInput(name, why, _HOW_TO_START) from error
        try:
            _check_versions(client, name)
            yield client
        finally:
            _close(client)


def _address_in(address: str) -> str:
    """The address itself, or that in a file of `dask scheduler`."""
    path = Path(address)
    return str(json.loads(path.read_text("utf-8"))["address"]) if path.is_file() else address


async def _greet(address: str) -> None:
    """Connect and disconnect; a client of dask would wait without end for a server that does not answer."""
    from distributed.comm.core import connect
    from distributed.security import Security

    options = Security().get_connection_args("client")
    connection = await asyncio.wait_for(connect(address, timeout=_CONNECT_S, **options), _CONNECT_S)
    connection.abort()


def _check_versions(client: Any, name: str) -> None:
    """Refuse a scheduler of another version of dask.distributed: messages could be understood in another way.

    Raises
    ------
    BadInput
        If it is of another version, or does not say.
    """
    own_version = version("distributed")
    try:
        its_version = client.get_versions()["scheduler"]["packages"]["distributed"]
    except Exception as error:
        raise BadInput(name, f"does not say its version ({type(error).__name__})", _HOW_TO_START) from error
    if its_version != own_version:
        raise BadInput(
            name,
            f"runs dask.distributed {its_version}, and this is {own_version}",
            "start it from the environment in which napari-latentseg is installed",
        )


@contextmanager
def local_workers(count: int, threads: int, preload: str) -> Iterator[Any]:
    """Give a client of workers in processes of their own, which listen on 127.0.0.1 alone.

    Parameters
    ----------
    count
        How many.
    threads
        With how many threads each of them computes.
    preload
        A module that each of them loads first.

    Raises
    ------
    BadInput
        If they do not start.
    """
    import dask
    import distributed

    scratch = make_scratch_folder()
    with ExitStack() as stack:
        stack.callback(remove_scratch_folder, scratch)
        stack.enter_context(_quiet_dask())
        stack.enter_context(_environment_for(threads))
        stack.enter_context(dask.config.set(_LOCAL_CONFIG))
        stack.callback(_end_workers_since, set(multiprocessing.active_children()))
        try:
            cluster = distributed.LocalCluster(
                n_workers=count, threads_per_worker=1, processes=True, host="127.0.0.1",
                silence_logs=logging.CRITICAL + 1, local_directory=str(scratch), preload=[preload],
                worker_class=distributed.Nanny,
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            )  # fmt: skip
            stack.callback(_close, cluster)
            client = distributed.Client(cluster, set_as_default=False, timeout=_START_S)
            stack.callback(_close, client)
            client.wait_for_workers(1, timeout=_START_S)
        except (OSError, RuntimeError, TimeoutError) as error:
            raise BadInput(
                "workers",
                f"do not start ({type(error).__name__})",
                "a Python script must call batch under `if __name__ == '__main__':`",
            ) from error
        yield client


def _close(opened: Any) -> None:
    """Close a client or a cluster, or give up where that takes too long."""
    with suppress(Exception):  # of whatever kind: nothing that is still wanted depends on it
        opened.close(timeout=_CLOSE_S)


def _end_workers_since(earlier: set[multiprocessing.process.BaseProcess]) -> None:
    """End workers that the closing of their cluster has left, as those that had just begun to start.

    Without this, they would stay until this process ends, which may be a notebook.
    """
    for process in set(multiprocessing.active_children()) - earlier:
        if process.name.startswith(_WORKER_NAME):
            process.kill()
            process.join(_CLOSE_S)


@contextmanager
def _environment_for(threads: int) -> Iterator[None]:
    """The environment in which workers start; dask sets some variables for them in this process too."""
    before = dict(os.environ)
    os.environ.update(thread_variables(threads))
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
