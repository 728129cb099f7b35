"""Compiled functions on the disk, so that a model is compiled once on a machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.atomic import atomic_path
from napari_latentseg.utils.leftovers import remove_leftovers
from napari_latentseg.utils.path_lock import path_lock
from napari_latentseg.utils.paths import data_home

__all__ = ["CompiledPlan", "GraphCache"]

_FOLDER = "compiled"
_SUFFIX = ".graph"
_PLAN_SUFFIX = ".json"
_MAX_BYTES = 4 * 2**30  # of all models together; one on SD-VAE takes about 0.7 GB
_ATTEMPTS = "attempts"  # how many processes began to compile and did not come to an end
_LOCK = "attempts.lock"
_MAX_WAIT_S = 600.0  # compiling a model takes up to a minute on a busy machine
_MAX_CRASHES = 2  # a single one may have been killed
_DIGITS = 64  # of a SHA-256


@dataclass(frozen=True)
class CompiledPlan:
    """What a model needs to segment tiles of one size with compiled functions alone.

    Attributes
    ----------
    graphs
        Names of the compiled functions that a sample calls, in the order of their first call.
    downsampling_factor
        Pixels per latent position.
    size_multiple
        The side of a tile in pixels must be a multiple of it.
    is_sequence
        Whether a prediction without noise is `graphs[1]` of `graphs[0]` of the tiles, and nothing else.
    full_batches
        By the name of a function the size of a batch for which it is compiled once more, and faster.
    refusal
        Why OpenVINO does not compute this model; empty where it does.
    """

    graphs: tuple[str, ...]
    downsampling_factor: int
    size_multiple: int
    is_sequence: bool
    full_batches: dict[str, int] = field(default_factory=dict)
    refusal: str = ""


class GraphCache:
    """The files of one model in one precision; every one carries the hash of its content.

    Parameters
    ----------
    key
        From `compiled_model_key`.
    """

    def __init__(self, key: str) -> None:
        self.folder = data_home() / _FOLDER / key

    def read(self, name: str) -> bytes | None:
        """An exported function; None where there is none, or it is cut short or damaged."""
        try:
            content = (self.folder / f"{name}{_SUFFIX}").read_bytes()
        except OSError:
            return None
        digest, exported = content[:_DIGITS], content[_DIGITS:]
        return exported if hashlib.sha256(exported).hexdigest().encode() == digest else None

    def write(self, name: str, exported: bytes) -> None:
        """Keep an exported function; where the disk is full or cannot be written, nothing is kept."""
        self._write(f"{name}{_SUFFIX}", hashlib.sha256(exported).hexdigest().encode() + exported)

    def read_plan(self, name: str) -> CompiledPlan | None:
        """A plan; None where there is none, or one of its functions is missing."""
        try:
            fields = json.loads((self.folder / f"{name}{_PLAN_SUFFIX}").read_text("utf-8"))
            plan = CompiledPlan(**(fields | {"graphs": tuple(fields["graphs"])}))
        except (OSError, ValueError, TypeError, LookupError):
            return None
        return plan if all((self.folder / f"{name}{_SUFFIX}").is_file() for name in plan.graphs) else None

    def write_plan(self, name: str, plan: CompiledPlan) -> None:
        """Keep a plan, when its functions are written."""
        self._write(f"{name}{_PLAN_SUFFIX}", json.dumps(asdict(plan)).encode())

    def _write(self, file_name: str, content: bytes) -> None:
        with suppress(OSError, BadInput):
            self.folder.mkdir(parents=True, exist_ok=True)
            _make_room(self.folder, len(content))
            with atomic_path(self.folder / file_name) as temporary:
                temporary.write_bytes(content)

    @contextmanager
    def attempt(self) -> Iterator[bool]:
        """Compile something in the block, which may end the process: OpenVINO's compiler can crash.

        One process at a time: another waits, and finds what this one has compiled.

        Yields
        ------
        bool
            Whether to try: False where two processes have ended in such a block before.
        """
        path = self.folder / _ATTEMPTS
        with ExitStack() as held:
            with suppress(OSError, BadInput):  # without the lock, a model may be compiled twice
                self.folder.mkdir(parents=True, exist_ok=True)
                lock = path_lock(self.folder / _LOCK, self.folder, _MAX_WAIT_S, keeps_file=True)
                held.enter_context(lock)
            try:
                attempts = int(path.read_text("utf-8"))
            except (OSError, ValueError):
                attempts = 0
            if attempts >= _MAX_CRASHES:
                yield False
                return
            self._write(_ATTEMPTS, str(attempts + 1).encode())
            try:
                yield True
            finally:
                with suppress(OSError):
                    path.unlink()

    def note_use(self) -> None:
        """Note that the model is used: those that were not used for longest are removed first."""
        with suppress(OSError):
            os.utime(self.folder)


def _make_room(folder: Path, size: int) -> None:
    """Remove the models that were not used for longest, until a file of `size` bytes fits below the limit."""
    others = [path for path in folder.parent.iterdir() if re.fullmatch("[0-9a-f]{32}", path.name)]
    others = sorted((path for path in others if path != folder), key=lambda path: path.stat().st_mtime)
    total = size + _size([folder, *others])
    for path in others:
        remove_leftovers(path)
        if total <= _MAX_BYTES:
            return
        total -= _size([path])
        shutil.rmtree(path, ignore_errors=True)


def _size(folders: Sequence[Path]) -> int:
    return sum(path.stat().st_size for folder in folders for path in folder.iterdir())
