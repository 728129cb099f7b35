"""Fine-tunings that were ended from outside, as by closing napari: found again by their checkpoints.

Importing this loads no torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput
from napari_latentseg.models.candidates import candidate_folder
from napari_latentseg.models.card import CARD
from napari_latentseg.models.store import data_home, model_folders, subfolders
from napari_latentseg.training.claim import OutputClaim
from napari_latentseg.training.events import FineTuneEpoch
from napari_latentseg.training.output_dir import STATE_FILE, checkpoint_folder, read_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_latentseg.data.label_names import LabelsOption

__all__ = ["InterruptedFineTuning", "ResumeRequest", "discard_interrupted", "keep_data", "list_interrupted"]

_SUFFIX = ".checkpoint"
_KEPT_DATA = "data"  # in the folder of the checkpoint


class ResumeRequest(FrozenModel):
    """With what a fine-tuning was started, as its checkpoint records it.

    The paths stay on this machine, in the user's folder, and are deleted with the checkpoint.

    Attributes
    ----------
    base
        Name or folder of the base model.
    data
        Folders of annotated images.
    minutes
        For everything but the comparison.
    device, labels, reader, structure, long_side, codec
        As `api.finetune` takes them; empty where they were not given.
    """

    base: str
    data: tuple[str, ...]
    minutes: float
    device: str = "auto"
    labels: str = ""
    reader: str = ""
    structure: str = ""
    long_side: int | None = None
    codec: str = ""

    @classmethod
    def of(
        cls,
        base: str | Path,
        data: Sequence[Path],
        minutes: float,
        *,
        device: str,
        labels: LabelsOption | None,
        reader: str | None,
        structure: str | None,
        long_side: int | None,
        codec: str | Path | None,
    ) -> ResumeRequest:
        """The request of a call of `api.finetune`, with paths that hold in every folder."""
        return cls(
            base=str(base) if base in model_folders() else _with_absolute_path(base),
            data=tuple(str(folder.absolute()) for folder in data),
            minutes=minutes,
            device=device,
            labels=_labels_text(labels),
            reader=reader or "",
            structure=structure or "",
            long_side=long_side,
            codec="" if codec is None else _with_absolute_path(codec),
        )


class InterruptedFineTuning(FrozenModel):
    """A fine-tuning that was ended before it could write a model, and can be resumed.

    Attributes
    ----------
    name
        Of the new model.
    folder
        Of the checkpoint.
    request
        With what it was started.
    seed
        Of the fine-tuning.
    seconds
        How long it had trained at the checkpoint.
    data
        The folders of annotated images: those of the request, or the one that was kept with the checkpoint.
    missing_data
        Those of them that are not there any more, without which it cannot be resumed.
    epochs
        Its validations so far.
    """

    name: str
    folder: Path
    request: ResumeRequest
    seed: int
    seconds: float
    data: tuple[Path, ...]
    missing_data: tuple[Path, ...] = ()
    epochs: tuple[FineTuneEpoch, ...] = ()

    def command_line(self) -> list[str]:
        """The command that resumes it, and its options."""
        request = self.request
        command = ["finetune", "--model", request.base]
        for folder in self.data:
            command += ["--data", str(folder)]
        command += ["--minutes", f"{request.minutes:g}", "--device", request.device]
        command += ["--seed", str(self.seed), "--name", self.name]
        for option, value in (("--labels", request.labels), ("--structure", request.structure)):
            command += [option, value] if value else []
        return [*command, *self.further_options, "--resume"]

    @property
    def further_options(self) -> list[str]:
        """The options that were given on the command line alone."""
        request = self.request
        long_side = "" if request.long_side is None else str(request.long_side)
        options = {"--reader": request.reader, "--long-side": long_side, "--codec": request.codec}
        return [text for option, value in options.items() if value for text in (option, value)]


def list_interrupted() -> list[InterruptedFineTuning]:
    """The fine-tunings among the candidates that were interrupted, the newest first; reads files.

    One that is running, and one that wrote a model when it was stopped, are not among them.
    """
    folders = [p for p in subfolders(data_home() / "candidates") if p.name.endswith(_SUFFIX)]
    found = [(folder, _read(folder)) for folder in folders]
    interrupted = [(_changed(folder), entry) for folder, entry in found if entry is not None]
    return [entry for _, entry in sorted(interrupted, key=lambda pair: pair[0], reverse=True)]


def discard_interrupted(name: str) -> bool:
    """Delete the checkpoint of an interrupted fine-tuning; False where there is none of that name.

    Raises
    ------
    BadInput
        If it is being resumed.
    """
    folder = checkpoint_folder(candidate_folder(name))
    if not (folder / STATE_FILE).is_file() or (candidate_folder(name) / CARD).is_file():
        return False
    if _is_running(name):
        raise BadInput(name, "is being trained", "stop it first")
    shutil.rmtree(folder, ignore_errors=True)
    return True


def keep_data(folder: Path, checkpoint: Path) -> bool:
    """Move data that would be deleted into the folder of a checkpoint, so that it can be resumed.

    Parameters
    ----------
    folder
        The only data of the fine-tuning.
    checkpoint
        Its checkpoint.

    Returns
    -------
    bool
        False where there is no checkpoint, or they cannot be moved.
    """
    if not (checkpoint / STATE_FILE).is_file():
        return False
    try:
        shutil.move(folder, checkpoint / _KEPT_DATA)
    except OSError:
        return False
    return True


def _read(folder: Path) -> InterruptedFineTuning | None:
    """What a checkpoint says; None where it is not that of an interrupted fine-tuning."""
    name = folder.name.removesuffix(_SUFFIX)
    if (candidate_folder(name) / CARD).is_file():
        return None
    try:
        state = read_state(folder)
        kept = folder / _KEPT_DATA
        data = [kept] if kept.is_dir() else [Path(path) for path in state["request"]["data"]]
        interrupted = InterruptedFineTuning.model_validate(
            {
                "name": name,
                "folder": folder,
                "request": state["request"],
                "seed": state["identity"]["seed"],
                "seconds": state["at"]["spent"],
                "data": data,
                "missing_data": [path for path in data if not path.exists()],
                "epochs": state["events"],
            }
        )
    except (BadInput, ValidationError, LookupError, TypeError):
        return None  # of an earlier version, which recorded no request, or damaged
    return None if _is_running(name) else interrupted


def _is_running(name: str) -> bool:
    claim = OutputClaim(candidate_folder(name))
    if not claim.take():
        return True
    claim.release()
    return False


def _changed(folder: Path) -> float:
    try:
        return (folder / STATE_FILE).stat().st_mtime
    except OSError:  # discarded in the meantime
        return 0.0


def _with_absolute_path(name_or_path: str | Path) -> str:
    path = Path(name_or_path)
    return str(path.absolute()) if path.exists() else str(name_or_path)


def _labels_text(labels: LabelsOption | None) -> str:
    """What the labels mean, as the command line takes it."""
    if labels is None:
        return ""
    if isinstance(labels, Mapping):
        return ",".join(f"{label}={name}" for label, name in labels.items())
    text = str(labels)
    return text if "=" in text else _with_absolute_path(text)
