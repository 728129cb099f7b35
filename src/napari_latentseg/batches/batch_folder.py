"""The folder of a batch: who writes into it, and what is finished in it.

Beside the results, OUT holds `cases.tsv` and the hidden folder `.batch`:

- `cases/NAME.json`, the state of a case (`napari_latentseg.batches.case_state`): the truth about what is
  finished, since the table may lag behind;
- `1-of-1.lock`, held while a batch or a part of it runs, and `1-of-1.tsv`, the table of that part alone;
- `work-1-of-1`, files of that part that are not complete;
- `layout`, how the results lie.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.atomic import ensure_writable_folder
from napari_latentseg.utils.path_lock import path_lock

__all__ = ["BatchFolder"]

HIDDEN = ".batch"
TABLE_NAME = "cases.tsv"
_RESUME = "continue it with --resume, or choose another folder"


@dataclass(frozen=True)
class BatchFolder:
    """The folder that a batch, or a part of one, writes into.

    Attributes
    ----------
    out
        The folder of the results.
    part, parts
        Which part of the batch this process does, from 1, and how many there are.
    """

    out: Path
    part: int = 1
    parts: int = 1

    @property
    def hidden(self) -> Path:
        """What a batch keeps for itself."""
        return self.out / HIDDEN

    @property
    def table(self) -> Path:
        """The table of all cases."""
        return self.out / TABLE_NAME

    @property
    def _own_name(self) -> str:
        return f"{self.part}-of-{self.parts}"

    @property
    def part_table(self) -> Path:
        """The table of this part alone."""
        return self.hidden / f"{self._own_name}.tsv"

    @property
    def part_tables(self) -> list[Path]:
        """The tables of all parts that have begun."""
        return sorted(self.hidden.glob(f"*-of-{self.parts}.tsv"))

    def keep_layout(self, layout: str) -> None:
        """Remember how the results lie, or refuse another layout than that of the results that are there.

        Raises
        ------
        BadInput
            If there are results in another layout, or nothing can be written.
        """
        path = self.hidden / "layout"
        try:
            earlier = path.read_text("utf-8").strip()
        except OSError:
            earlier = ""
        if earlier and earlier != layout:
            raise BadInput(
                self.out, f"holds results in the layout {earlier}", "choose that or another folder"
            )
        if not earlier:
            self.replace(path, f"{layout}\n")

    @property
    def work(self) -> Path:
        """Temporary files of this part."""
        return self.hidden / f"work-{self._own_name}"

    def table_lock(self) -> Path:
        """The lock of the table that the parts share."""
        return self.hidden / "table.lock"

    def check_unused(self) -> None:
        """Refuse a folder that holds cases of a batch, or of this part of it.

        Raises
        ------
        BadInput
            If it does.
        """
        others = {path.stem.partition("-of-")[2] for path in self.hidden.glob("*-of-*.tsv")}
        if (
            self.part_table.exists()
            or others - {str(self.parts)}
            or (self.parts == 1 and self.table.exists())
        ):
            raise BadInput(self.out, "holds cases of a batch already", _RESUME)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other batches out of the folder while the block runs, but for other parts of the same one.

        Raises
        ------
        BadInput
            If another process runs the same part, or a batch of another number of parts, or nothing can be
            written.
        """
        for folder in (self.out, self.hidden):
            ensure_writable_folder(folder)
        lock = FileLock(self.hidden / f"{self._own_name}.lock", timeout=0)
        try:
            with path_lock(self.hidden / "start.lock", self.out, keeps_file=True):
                self._refuse_others()
                try:
                    lock.acquire()
                except Timeout as error:
                    raise self._busy() from error
        except OSError as error:
            why = f"cannot be locked ({error.strerror or type(error).__name__})"
            raise BadInput(self.out, why, "choose a folder on a file system with locks") from error
        try:
            shutil.rmtree(self.work, ignore_errors=True)
            ensure_writable_folder(self.work)
            yield
        finally:
            shutil.rmtree(self.work, ignore_errors=True)
            lock.release()

    def _refuse_others(self) -> None:
        """Refuse the folder where a batch of another number of parts runs."""
        with ExitStack() as probes:
            for path in self.hidden.glob("*-of-*.lock"):
                if path.stem.partition("-of-")[2] == str(self.parts):
                    continue
                probe = FileLock(path, timeout=0)
                try:
                    probe.acquire()
                except Timeout as error:
                    raise self._busy() from error
                probes.callback(probe.release)

    def _busy(self) -> BadInput:
        return BadInput(self.out, "another batch is writing into it", "wait for it, or choose another folder")

    def replace(self, path: Path, content: str) -> None:
        """Write a small file so that a reader sees the old or the new one, never a part of it.

        Raises
        ------
        BadInput
            If it cannot be written.
        """
        temporary = self.work / f"{os.getpid()}-{path.name}"
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8", newline="") as file:
                file.write(content)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise BadInput(
                path,
                f"cannot be written ({error.strerror})",
                "free some disk space, or choose another folder",
            ) from error
