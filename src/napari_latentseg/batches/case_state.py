"""What is known on disk about a case of a batch: whether it is finished, and from what."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from pydantic import Field, ValidationError

from napari_latentseg.batches.batch_folder import HIDDEN
from napari_latentseg.batches.case import BatchCase, BatchJob, CaseOutcome
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.atomic import atomic_path

__all__ = ["CaseState", "fingerprint", "finished_outcome", "read_state", "write_state"]

# What a result does not depend on, or only by rounding: which machine computes it, and in which order.
_NOT_IN_FINGERPRINT = {"device", "engine", "tiles_at_once", "first_plane", "memory_limit", "keep_samples"}
# Options of `write_result` that change nothing in what is written.
_NO_CONTENT = {"overwrite"}


class CaseState(FrozenModel):
    """The state of a case, written after its files are in place.

    Attributes
    ----------
    fingerprint
        Of the input, the model and the settings; see `fingerprint`.
    is_finished
        False while files are being put in place: they are the batch's own, and may be replaced.
    files
        SHA-256 of each file of the result, by its path relative to the folder of the batch.
    earlier_files
        Of the result that is being replaced, until it is.
    outcome
        The row in the table; None until it is finished.
    """

    fingerprint: str
    is_finished: bool
    files: dict[str, str]
    earlier_files: dict[str, str] = Field(default_factory=dict)
    outcome: CaseOutcome | None = None

    def owns(self, path: str, sha256: str) -> bool:
        """Whether a file, by its relative path and its content, is one that the batch wrote."""
        return sha256 in (self.files.get(path), self.earlier_files.get(path))


def fingerprint(job: BatchJob, case: BatchCase, input_sha256: str) -> str:
    """A hash that changes when the result of a case might: input, model, settings, layout.

    Parameters
    ----------
    job
        Of the batch.
    case
        The case.
    input_sha256
        Of the files of the image.
    """
    content = {
        "input": input_sha256,
        "case": case.name,
        "folder": case.folder,
        "model": job.model_key,
        "settings": job.settings.model_dump(mode="json", exclude=_NOT_IN_FINGERPRINT),
        "image": [job.plane, job.channel, job.spacing],
        "layout": job.layout,
        "outputs": {name: str(value) for name, value in job.outputs.items() if name not in _NO_CONTENT},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_state(out: Path, name: str) -> CaseState | None:
    """The state of a case; None where there is none, or none that can be read: it is then done again."""
    try:
        return CaseState.model_validate_json(_path(out, name).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def write_state(out: Path, name: str, state: CaseState) -> None:
    """Write the state of a case.

    Raises
    ------
    BadInput
        If it cannot be written.
    """
    path = _path(out, name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(path, f"cannot be written ({error.strerror})", "choose another folder") from error
    with atomic_path(path) as temporary:
        temporary.write_text(state.model_dump_json() + "\n", "utf-8")


def finished_outcome(out: Path, name: str, expected: str) -> CaseOutcome | None:
    """The row of a case that is finished with this fingerprint and whose files are all there; else None."""
    state = read_state(out, name)
    if state is None or not state.is_finished or state.outcome is None or state.fingerprint != expected:
        return None
    return state.outcome if all(os.path.lexists(out / path) for path in state.files) else None


def _path(out: Path, name: str) -> Path:
    return out / HIDDEN / "cases" / f"{name}.json"
