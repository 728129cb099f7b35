"""What a training goes on from after it was stopped, whole at any moment.

A checkpoint is a folder with the tensors (safetensors) and the rest (JSON). The tensors are written first,
under a new name; then the JSON that names them takes the place of the former one in a single step. A program
that is killed in between leaves the former pair.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.files import atomic_path, usable_folder
from napari_latentseg.training.place import STATE, read_state
from napari_latentseg.training.state import Saved
from napari_latentseg.weights import sha256_of

__all__ = ["Checkpoint"]

_OVER = "delete that folder, and train from the beginning"


@dataclass
class Checkpoint:
    """The checkpoint of one training.

    Parameters
    ----------
    folder
        Where it lies, or is to lie.
    training
        A mark by which the model of a stopped training is known as its own.
    every
        Seconds from one to the next; 0 writes one after every epoch.

    Attributes
    ----------
    around
        What is written with every snapshot: what the whole training has beside the stage under way.
    """

    folder: Path
    training: str = field(default_factory=lambda: secrets.token_hex(8))
    every: float = 60.0
    around: Saved = field(init=False, default_factory=lambda: Saved({}, {}))
    _last: float = field(init=False, default_factory=time.monotonic)

    def is_due(self) -> bool:
        """Whether the time for the next one has come."""
        return time.monotonic() - self._last >= self.every

    @property
    def exists(self) -> bool:
        """Whether there is one."""
        return (self.folder / STATE).is_file()

    def write(self, saved: Saved) -> None:
        """Put a snapshot in the place of the former one.

        Raises
        ------
        BadInput
            Where it cannot be written; the former one is left whole.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        usable_folder(self.folder, what="checkpoint")
        path = self.folder / f"tensors-{secrets.token_hex(4)}.safetensors"
        tensors = {**self.around.tensors, **saved.tensors}
        try:
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path)
        except (OSError, SafetensorError) as error:
            path.unlink(missing_ok=True)
            raise BadInput(path, f"cannot be written ({error})", "make room") from error
        told = {"format": 1, "training": self.training, "tensors": path.name, "sha256": sha256_of(path)}
        text = json.dumps(told | self.around.told | {"at": saved.told})
        with atomic_path(self.folder / STATE) as temporary:
            temporary.write_text(text, "utf-8")
        for other in self.folder.glob("tensors-*.safetensors"):
            if other != path:
                other.unlink(missing_ok=True)
        self._last = time.monotonic()

    def read(self) -> Saved:
        """What was written last: the snapshot under ``"at"``, and what was around it.

        Raises
        ------
        BadInput
            Where it is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        told = read_state(self.folder)
        path = self.folder / Path(str(told.get("tensors"))).name
        if not path.is_file() or sha256_of(path) != told.get("sha256"):
            raise BadInput(path, "is missing or damaged", _OVER)
        try:
            return Saved(load_file(path), told)
        except (SafetensorError, OSError, ValueError) as error:
            raise BadInput(path, "is damaged", _OVER) from error

    def remove(self) -> None:
        """Remove it, once the model that it led to has been written."""
        shutil.rmtree(self.folder, ignore_errors=True)
