"""The model that a fine-tuning trains: the first member of its base, or a new one of the structure taught."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from napari_latentseg.data.cases import Case
from napari_latentseg.data.slices import Slice
from napari_latentseg.errors import BadInput
from napari_latentseg.finetuning.config import FineTuneConfig
from napari_latentseg.finetuning.new_structure import (
    STRUCTURE_CONFIG,
    add_prompt,
    model_name_of_structure,
    promptless_model,
    structure_prompt,
)
from napari_latentseg.finetuning.working_scale import (
    check_long_side,
    choose_working_scale,
    sample_masks,
    working_at,
)
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.methods.gms import GMS
from napari_latentseg.methods.prompted import PromptedMapping
from napari_latentseg.models.candidates import free_name
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import find_model, load_model, model_folders
from napari_latentseg.models.versions import next_version
from napari_latentseg.utils.device import Compute

__all__ = ["BaseModel", "read_base_model"]


@dataclass
class BaseModel:
    """The model that is trained, and what it was made from.

    Attributes
    ----------
    model
        Its method is trained in place; the files of the base stay as they are.
    prompted
        The method of a base that is pointed at, whose structure `model` is taught; None for other bases.
    long_side
        The scale that a person chose for a new structure; None to let the masks choose.
    notes
        On the model, for the user.
    """

    model: Model
    prompted: PromptedMapping | None = None
    long_side: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def card(self) -> ModelCard:
        """The card of what is trained."""
        return self.model.card

    @property
    def method(self) -> Method:
        """The method that is trained."""
        return self.model.method

    @property
    def default_config(self) -> FineTuneConfig:
        """The settings of the training where none are given."""
        return FineTuneConfig() if self.prompted is None else STRUCTURE_CONFIG

    @property
    def new_version(self) -> str:
        """The version number that the candidate gets when it is adopted."""
        name = self.card.name
        has_versions = self.prompted is None and name in model_folders()
        return next_version(name) if has_versions else "1"

    def free_name(self, tried: Set[str] = frozenset()) -> str:
        """A free name: that of the base with a suffix, or that of the structure that is taught."""
        if self.prompted is None:
            return free_name(self.card.name, tried)
        return free_name(model_name_of_structure(self.card.classes[0].name), tried, suffix="")

    def choose_scale(self, cases: Sequence[Case], compute: Compute) -> list[str]:
        """Let a new model work at the scale that its structure needs; which it is and why, in words."""
        if self.prompted is None:
            return []
        scale = choose_working_scale(
            self.prompted.mask_codec, self.card.preprocess, sample_masks(cases), compute, self.long_side
        )
        self.model = working_at(self.model, scale)
        return [scale.reason]

    def trained_parts(self, config: FineTuneConfig) -> FineTuneSpec:
        """Which part of the method is trained."""
        if config.whole_mapper and isinstance(self.method, GMS):
            return self.method.whole_mapper_spec()
        return self.method.fine_tune_spec()

    def take_up_prompt(self, slices: Sequence[Slice]) -> None:
        """Let a new model begin as its base that is pointed at the structure in these slices."""
        if self.prompted is not None:
            prompt = structure_prompt(self.prompted, slices, self.card.preprocess.size)
            add_prompt(self.model, self.prompted, prompt)


def read_base_model(
    base: str | Path, codec: str | Path | None, structure: str | None, long_side: int | None
) -> BaseModel:
    """Read the base, and make the model that is trained.

    Parameters
    ----------
    base
        By name or folder.
    codec
        The model's codec, where it is not kept on this machine.
    structure
        Of a base that is pointed at: what the masks show.
    long_side
        The scale that the structure is seen at; None to let the masks choose.

    Raises
    ------
    BadInput
        If the base has its own classes and a structure or a scale is given, if the structure has no name, or
        if the scale is not possible.
    """
    model = load_model(find_model(base), codec)
    notes = []
    if model.other_members:
        # the others would no longer differ from it by what they were trained on alone
        notes.append(f"the first of {len(model.members)} members is fine-tuned, and is kept alone")
    if isinstance(model.method, PromptedMapping):
        made = BaseModel(promptless_model(model, structure or ""), model.method, long_side, notes)
    elif structure is not None:
        remedy = "leave it out, or begin with a model that is pointed at, such as any-structure"
        raise BadInput("structure", f"{model.card.name} has its own classes", remedy)
    else:
        made = BaseModel(model.first_alone(), notes=notes)
    check_long_side(
        long_side,
        model.card.name,
        model.card.preprocess.size,
        is_new_structure=made.prompted is not None,
    )
    return made
