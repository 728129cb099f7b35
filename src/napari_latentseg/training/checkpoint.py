"""The checkpoint from which a stopped training is resumed; it can be read at any moment.

A checkpoint is a folder with the tensors (safetensors) and the rest of the state (JSON). The tensors are
written first, under a new name; then the JSON that names them replaces the former one atomically. If the
program is killed in between, the former checkpoint remains.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput
from napari_latentseg.training.output_dir import STATE_FILE, read_state
from napari_latentseg.training.snapshot import Snapshot
from napari_latentseg.utils.atomic import atomic_path, ensure_writable_folder
from napari_latentseg.utils.weights import file_sha256

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Checkpoint"]

_REMEDY = "delete that folder, and train from the beginning"


@dataclass
class Checkpoint:
    """The checkpoint of one training.

    Parameters
    ----------
    folder
        Folder of the checkpoint; need not exist yet.
    training_id
        An identifier, by which a resumed training recognises the model that it wrote when it was stopped.
    interval_s
        Seconds after a write until the next is due; 0 for a write after every epoch.

    Attributes
    ----------
    common
        The part of the state that does not belong to the current stage; written with every snapshot.
    """

    folder: Path
    training_id: str = field(default_factory=lambda: secrets.token_hex(8))
    interval_s: float = 60.0
    common: Snapshot = field(init=False, default_factory=lambda: Snapshot({}, {}))
    _last_written: float = field(init=False, default_factory=time.monotonic)

    def is_due(self) -> bool:
        """Whether `interval_s` has passed since the last write."""
        return time.monotonic() - self._last_written >= self.interval_s

    @property
    def exists(self) -> bool:
        """Whether there is a checkpoint."""
        return (self.folder / STATE_FILE).is_file()

    def write(self, snapshot: Snapshot) -> None:
        """Replace the former checkpoint by `common` and a snapshot of the current stage.

        Raises
        ------
        BadInput
            If it cannot be written; the former one remains.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        ensure_writable_folder(self.folder, what="checkpoint")
        path = self.folder / f"tensors-{secrets.token_hex(4)}.safetensors"
        tensors = {**self.common.tensors, **snapshot.tensors}
        # stored in the order they have in memory: a copy of the weights of convolutions, of the optimizer and
        # of the average would take as much memory again as all of them
        channels_last = {name for name, tensor in tensors.items() if _is_channels_last(tensor)}
        stored = {
            name: tensor.permute(0, 2, 3, 1) if name in channels_last else tensor
            for name, tensor in tensors.items()
        }
        try:
            save_file({k: v.detach().cpu().contiguous() for k, v in stored.items()}, path)
        except (OSError, SafetensorError) as error:
            path.unlink(missing_ok=True)
            raise BadInput(path, f"cannot be written ({error})", "free disk space") from error
        metadata = {
            "format": 1,
            "training": self.training_id,
            "tensors": path.name,
            "sha256": file_sha256(path),
            "channels_last": sorted(channels_last),
        }
        text = json.dumps(metadata | self.common.metadata | {"at": snapshot.metadata})
        with atomic_path(self.folder / STATE_FILE) as temporary:
            temporary.write_text(text, "utf-8")
        for old_file in self.folder.glob("tensors-*.safetensors"):
            if old_file != path:
                old_file.unlink(missing_ok=True)
        self._last_written = time.monotonic()

    def read(self) -> Snapshot:
        """Read the checkpoint: all tensors, and the metadata, those of the current stage under ``"at"``.

        Raises
        ------
        BadInput
            If it is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        metadata = read_state(self.folder)
        path = self.folder / Path(str(metadata.get("tensors"))).name
        if not path.is_file() or file_sha256(path) != metadata.get("sha256"):
            raise BadInput(path, "is missing or damaged", _REMEDY)
        try:
            tensors = load_file(path)
            for name in metadata.get("channels_last", ()):  # earlier versions stored all in the order of axes
                tensors[name] = tensors[name].permute(0, 3, 1, 2)
            return Snapshot(tensors, metadata)
        except (SafetensorError, OSError, ValueError, LookupError, RuntimeError) as error:
            raise BadInput(path, "is damaged", _REMEDY) from error

    def remove(self) -> None:
        """Delete the checkpoint; called when the model has been written."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _is_channels_last(tensor: Tensor) -> bool:
    """Whether the values of `(N, C, H, W)` lie in memory as `(N, H, W, C)`, and not also as it says."""
    import torch

    return (
        tensor.dim() == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )
