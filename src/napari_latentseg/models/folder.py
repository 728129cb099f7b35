"""Loading and saving a model folder: `card.json`, `weights.safetensors`, and the record of the training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.core.record import MEMBER_SOURCES
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.registry import build_method
from napari_latentseg.models.card import CARD, MemberParts, ModelCard, read_card
from napari_latentseg.models.layout import WEIGHTS_FILE, check_files, member_files
from napari_latentseg.models.variant import variant_text
from napari_latentseg.utils.atomic import atomic_folder
from napari_latentseg.utils.device import Compute, move_to_device
from napari_latentseg.utils.outline import check_network_size, unset_weights
from napari_latentseg.utils.weights import file_sha256, load_weights, save_weights

__all__ = ["Model", "check_member_parts", "load_model_folder", "save_model_folder"]

_REMEDY = "install the model again"
_MOVING = threading.Lock()


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes
    ----------
    method
        With its weights, in evaluation mode; on the CPU until `to` moves it.
    card
        The model card.
    folder
        The model folder.
    other_members
        Further ensemble members on the same codec, for the sampling source ``"members"``.
    checksums
        Of the weights as they were loaded from the folder; empty where they were not.

    Examples
    --------
    >>> from napari_latentseg import load_model
    >>> model = load_model("breast-ultrasound")
    >>> model.card.name, len(model.members)
    ('breast-ultrasound', 1)
    """

    method: Method
    card: ModelCard
    folder: Path
    other_members: tuple[Method, ...] = ()
    checksums: tuple[float, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        members = f", {len(self.members)} members" if self.other_members else ""
        return f"Model({self.card.name!r}, version {self.card.version}, {self.card.method_name}{members})"

    @property
    def members(self) -> tuple[Method, ...]:
        """All ensemble members; every sampling source but ``"members"`` uses the first alone."""
        return (self.method, *self.other_members)

    def first_alone(self) -> Model:
        """The first member as a model of its own, with the sources of samples that are left."""
        if not self.other_members:
            return self
        sources = tuple(s for s in self.card.sources if s not in MEMBER_SOURCES) or ("none",)
        card = self.card.replace(members=1, member_parts="all", member_dsc=(), sources=sources)
        return replace(self, card=card, other_members=(), checksums=())

    def has_loaded_weights(self) -> bool:
        """Whether the weights still are those of the files that the card names, and not trained since."""
        return bool(self.checksums) and np.allclose(self.checksums, _checksums(self.members), 1e-6, 1e-9)

    def to(self, compute: Compute) -> None:
        """Move every member to the device of `compute`.

        Before every use: the codec is shared between models, and another model may have moved it.
        """
        device = compute.torch_device()
        # In the window a run and the check of the fit may begin at once, and torch crashes where two threads
        # move a weight. One lock for all models, since they share codecs.
        with _MOVING:
            for method in self.members:
                if all(w.device == device and _is_channels_last(w) for w in method.parameters()):
                    continue
                move_to_device(method, device)


def _is_channels_last(weight: torch.Tensor) -> bool:
    return weight.ndim != 4 or weight.is_contiguous(memory_format=torch.channels_last)


def _checksums(members: Sequence[Method]) -> tuple[float, ...]:
    """The norm of each weight: training changes them, and they are computed in milliseconds."""
    weights = [weight.detach() for member in members for weight in member.parameters()]
    return tuple(torch.stack(torch._foreach_norm(weights)).tolist())


def load_model_folder(
    folder: Path, codec_for: Callable[[CodecSpec], Codec], card: ModelCard | None = None
) -> Model:
    """Load a model, after every file was checked against the hash in its card.

    Parameters
    ----------
    folder
        Holds `card.json` and the files that it names.
    codec_for
        Returns the codec for the codec entry of a card.
    card
        The card of that folder, where it was read before.

    Returns
    -------
    Model
        On the CPU, in evaluation mode.

    Raises
    ------
    BadInput
        If a file is missing or its hash differs, or the card does not fit its weights.
    """
    folder = Path(folder)
    card = read_card(folder) if card is None else card
    check_files(folder, card)
    codec = None if card.codec is None else codec_for(card.codec)
    if codec is not None:
        _check_codec(folder, card, codec)
    method = _build_first_member(folder, card, codec)
    load_weights(method.trainable_modules, folder / WEIGHTS_FILE)
    other_members = _load_other_members(folder, card, codec, method)
    method.eval()
    checksums = _checksums([method, *other_members])
    return Model(method, _with_variant(card, method, codec), folder, tuple(other_members), checksums)


def _build_first_member(folder: Path, card: ModelCard, codec: Codec | None) -> Method:
    """The method of a card, without its weights.

    Raises
    ------
    BadInput
        If the card does not fit the method.
    """
    try:
        check_network_size(
            "settings",
            lambda: build_method(card.method, codec, card.settings),
            folder / WEIGHTS_FILE,
            _REMEDY,
        )
        with unset_weights():
            method = build_method(card.method, codec, card.settings)
    except BadInput as error:
        raise BadInput(f"{folder / CARD}, {error.what}", error.why, _REMEDY) from error
    if card.preprocess.size % method.size_multiple:
        raise BadInput(
            f"{folder / CARD}, preprocess.size",
            f"is {card.preprocess.size}, but must be a multiple of {method.size_multiple}",
            _REMEDY,
        )
    # The wording may differ between versions of the package, but a variant must not pass as the published
    # method.
    variant = variant_text(method, card.preprocess)
    if bool(variant) != bool(_with_variant(card, method, codec).deviations_from_paper):
        raise BadInput(
            f"{folder / CARD}, variant",
            f"is {card.deviations_from_paper!r}, but its settings make it {variant!r}",
            _REMEDY,
        )
    if len(card.classes) != method.result_class_count:
        raise BadInput(
            f"{folder / CARD}, classes",
            f"has {len(card.classes)}, but the model segments {method.result_class_count}",
            _REMEDY,
        )
    return method


def _with_variant(card: ModelCard, method: Method, codec: Codec | None) -> ModelCard:
    """The card; one that says nothing of a codec with other latents gets the text of the variant."""
    if card.deviations_from_paper or not _deviates_in_latents_alone(method, codec):
        return card
    return card.replace(deviations_from_paper=variant_text(method, card.preprocess))


def _load_other_members(folder: Path, card: ModelCard, codec: Codec | None, method: Method) -> list[Method]:
    if card.members > 1:
        check_member_parts(f"{folder / CARD}, member_parts", method, card.member_parts, _REMEDY)
    members = []
    for name in member_files(card.members):
        with unset_weights():
            member = build_method(card.method, codec, card.settings)
        if card.member_parts == "predictor":
            member.share_conditioning(method)
        load_weights(_own_modules(member, card), folder / name)
        members.append(member.eval())
    return members


def check_member_parts(what: str, method: Method | type[Method], parts: MemberParts, remedy: str) -> None:
    """Refuse members that share the conditioner, of a method whose predictor is not apart from it.

    Raises
    ------
    BadInput
        Of `what`, if so.
    """
    if parts == "predictor" and not method.predictor_parts:
        why = f"is 'predictor', which cannot be trained apart from the rest in {method.name}"
        raise BadInput(what, why, remedy)


def _own_modules(member: Method, card: ModelCard) -> nn.ModuleDict:
    """The modules of a further member that are not those of the first."""
    return member.predictor_modules if card.member_parts == "predictor" else member.trainable_modules


def _deviates_in_latents_alone(method: Method, codec: Codec | None) -> bool:
    """Whether a codec such as SDXL's is all that differs from the paper, which earlier cards do not say."""
    if codec is None or not codec.other_latents:
        return False
    deviations = method.deviations_from_paper
    return deviations.startswith(f"{codec.other_latents} in place of ") and ", " not in deviations


def _check_codec(folder: Path, card: ModelCard, codec: Codec) -> None:
    for name in ("kind", "channels", "scale"):
        card_value, codec_value = getattr(card.codec, name), getattr(codec, name)
        if card_value != codec_value:
            raise BadInput(
                f"{folder / CARD}, codec.{name}",
                f"is {card_value}, but the codec given has {codec_value}",
                "give the codec that the model was trained with",
            )


def save_model_folder(
    folder: Path,
    method: Method,
    card: ModelCard,
    extras: dict[str, bytes] | None = None,
    *,
    other_members: Sequence[Method] = (),
    replace: bool = False,
) -> ModelCard:
    """Write a model folder, completely or not at all.

    Parameters
    ----------
    folder
        Must not exist or be empty, unless `replace` is set.
    method
        Its `trainable_modules` are written, as float16, to halve the file.
    card
        Its `files`, `deviations_from_paper` and `members` are filled in.
    extras
        Contents of further files by name: training configuration, log, plot, split.
    other_members
        Further ensemble members, whose `trainable_modules` are written too, or their predictor alone where
        the card says that they share the rest.
    replace
        Whether an existing folder is replaced.

    Returns
    -------
    ModelCard
        As written.

    Raises
    ------
    BadInput
        If the folder exists or cannot be written, or a weight is not finite.
    """
    modules = [method.trainable_modules, *(_own_modules(member, card) for member in other_members)]
    with atomic_folder(Path(folder), replace=replace) as temporary:
        for name, saved in zip((WEIGHTS_FILE, *member_files(len(modules))), modules, strict=True):
            save_weights(saved.state_dict(), temporary / name, half=True)
        for name, content in (extras or {}).items():
            (temporary / name).write_bytes(content)
        files = {p.name: file_sha256(p) for p in sorted(temporary.iterdir())}
        saved_card = card.replace(
            files=files, deviations_from_paper=variant_text(method, card.preprocess), members=len(modules)
        )
        saved_card.write(temporary / CARD)
    return saved_card
