"""Name and folder of a candidate: those that a person chose, or the next that are free."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.models.candidates import candidate_folder
from napari_latentseg.models.card import CARD, NAME_PATTERN
from napari_latentseg.models.store import model_folders
from napari_latentseg.training.claim import OutputClaim
from napari_latentseg.training.output_dir import check_output_dir, checkpoint_folder, read_state

__all__ = ["CandidatePlace"]


class CandidatePlace:
    """Where a fine-tuning writes its candidate, and under which name.

    Parameters
    ----------
    name
        Of the new model; None for a free one, or on a resume that of the checkpoint.
    folder
        The candidate's; None for the one of its name among the candidates.
    free_name
        Gives a free name, with those that were tried.
    resume
        Whether the folder has the checkpoint of a stopped fine-tuning.

    Raises
    ------
    BadInput
        If the name is not valid, is that of a model or of a candidate that waits for a decision, or if the
        folder cannot be written to.
    """

    def __init__(
        self, name: str | None, folder: Path | None, free_name: Callable[[Set[str]], str], *, resume: bool
    ) -> None:
        if resume and name is None and folder is not None:
            name = str(read_state(checkpoint_folder(folder)).get("identity", {}).get("name")) or None
        self._has_own_name = bool(name)
        self.has_own_folder = folder is not None
        self._free_name, self._resume = free_name, resume
        self.name = name.lower() if name else free_name(frozenset())
        if not re.fullmatch(NAME_PATTERN, self.name):
            raise BadInput(
                "name", f"{self.name!r} is not a valid model name", "use letters, digits, dots and dashes"
            )
        if self.name in model_folders():
            raise BadInput("name", f"there is a model {self.name!r} already", "give another")
        self.folder = candidate_folder(self.name) if folder is None else folder
        self._check_not_undecided()
        check_output_dir(self.folder, resume=resume)

    def _check_not_undecided(self) -> None:
        """Refuse the name of a candidate that waits for a decision."""
        is_stopped = checkpoint_folder(self.folder).exists()
        if not self.has_own_folder and not is_stopped and (self.folder / CARD).is_file():
            remedy = "adopt or discard that one, or give another name"
            raise BadInput("name", f"the fine-tuned model {self.name!r} waits for a decision", remedy)

    def claim(self) -> OutputClaim:
        """Claim the folder; where nobody chose name or folder, the next free name is taken.

        Raises
        ------
        BadInput
            If another fine-tuning writes to what a person chose.
        """
        is_chosen = self._has_own_name or self.has_own_folder
        tried: set[str] = set()
        while True:
            claim = OutputClaim(self.folder)
            if claim.take():
                try:
                    check_output_dir(self.folder, resume=self._resume)
                    return claim
                except BadInput:
                    claim.release()
                    if is_chosen:
                        raise
            elif is_chosen:
                subject = self.folder if self.has_own_folder else "name"
                why = f"another fine-tuning is writing {self.name!r}"
                raise BadInput(subject, why, "wait for it, or give another name")
            tried.add(self.name)
            self.name = self._free_name(tried)
            self.folder = candidate_folder(self.name)
