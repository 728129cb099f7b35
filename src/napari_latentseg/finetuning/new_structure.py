"""From a model that is pointed at to a model of one structure, which needs no pointing.

A prompt that says the same everywhere is a constant latent, and behind the first convolution of the mapper
that is an addition to its bias. So the model of the structure is a GMS variant with the same conditioner and
the same mapper, whose bias has taken up the prompt; the mapper is then taught on the annotated images.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.data.cases import Case
from napari_latentseg.data.slices import Slice
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.fit import MIN_TRAINING_IMAGES, FitReference
from napari_latentseg.evaluation.header_fit import HeaderFacts, HeaderRange
from napari_latentseg.finetuning.config import FineTuneConfig
from napari_latentseg.inference.fit import fit_reference
from napari_latentseg.inference.tiles import mirror_pad
from napari_latentseg.methods.gms import GMS, GMSConfig
from napari_latentseg.methods.prompted import PromptedMapping
from napari_latentseg.methods.simulated_prompts import PromptMaps, deepest_point
from napari_latentseg.models.folder import Model
from napari_latentseg.models.variant import variant_text
from napari_latentseg.utils.device import Compute

__all__ = [
    "STRUCTURE_CONFIG",
    "add_prompt",
    "fit_of_taught",
    "model_name_of_structure",
    "promptless_model",
    "structure_prompt",
]

STRUCTURE_CONFIG = FineTuneConfig(
    replay_share=0.0,  # none: the structures of the base are not part of the new task
    decoded_share=0.25,  # the masks of a new structure have to be learned, not only their latents
    learning_rate=1e-3,  # the whole mapper is trained; at a higher rate it forgets what the base has learnt
    towards_base=0.0,
    unjudged_share=1.0,  # the base does not know the structure, so nothing is gained by staying near it
    focus=0.5,  # half of the crops show the structure, even if it is small; vessels are in nearly all
    whole_mapper=True,
)

_MAX_SLICES = 32  # whose prompts are averaged; more would not change their mean


def promptless_model(base: Model, structure: str) -> Model:
    """A model of one structure with the weights of one that is pointed at, before it was told which.

    Parameters
    ----------
    base
        A model that takes prompts.
    structure
        The name of the structure, for the class of the new model.

    Returns
    -------
    Model
        In the folder of the base, with a card that says what it was made from; `add_prompt` is still to be
        called.

    Raises
    ------
    BadInput
        If the structure has no name.
    """
    prompted = base.method
    assert isinstance(prompted, PromptedMapping)
    structure = " ".join(structure.split())
    if not structure:
        remedy = "name it (finetune --structure NAME)"
        raise BadInput("structure", "has no name, and the model has no class of its own", remedy)
    settings = {
        "conditioner": "pyramid",
        "backbone": prompted.config.backbone,
        "width": prompted.config.width,
        "levels": ["out"],
        "mask_latents": prompted.config.mask_latents,
        "skips": prompted.config.skips,
        "latent_weight": prompted.config.latent_weight,
        "cross_entropy_weight": prompted.config.cross_entropy_weight,
        "posterior_noise": "none",
    }
    method = GMS(prompted.codec, GMSConfig.model_validate(settings))
    assert method.conditioner is not None
    method.conditioner.load_state_dict(prompted.conditioner.state_dict())
    weights = prompted.mapper.state_dict()
    weights["stem.weight"] = weights["stem.weight"][:, : prompted.codec.channels]
    method.mapper.load_state_dict(weights)
    method.eval().requires_grad_(False)
    card = base.card.replace(
        title=structure[:1].upper() + structure[1:],
        method=GMS.name,
        deviations_from_paper=variant_text(method, base.card.preprocess),
        settings=settings,
        classes=(ClassInfo(label=1, name=structure, color=base.card.classes[0].color),),
        sources=method.available_sources(has_augmentation=base.card.augment.distinct_tta_count != 1),
        modality="",
        metrics=(),
        fit=None,
        intended_use=f"Research: {structure} in images like those it was taught on. Not a medical device.",
        limits="Taught on a few annotated images: what differs from them is unknown to it.",
    )
    return Model(method, card, base.folder)


def structure_prompt(prompted: PromptedMapping, slices: Sequence[Slice], size: int) -> Tensor:
    """The latent `(P,)` of the prompts that point at the structure in annotated slices, on average.

    Parameters
    ----------
    prompted
        The method of the base.
    slices
        With masks of the structure alone.
    size
        Side of what the model sees at once: of a larger slice, the part around the prompt.
    """
    device = next(prompted.prompt_encoder.parameters()).device
    reading = torch.zeros(1, dtype=torch.long, device=device)
    latents = []
    for annotated in [s for s in slices if s.mask.any()][:_MAX_SLICES]:
        mask = _part_around_prompt(annotated.mask[0].numpy() > 0, size)
        prompt = PromptMaps((size, size))
        prompt.add_click(deepest_point(mask), is_positive=True)
        prompt.set_previous(mask.astype(np.float32))
        with torch.inference_mode():
            latent = prompted.encode_prompt(torch.from_numpy(prompt.maps)[None].to(device), reading)[0]
            inside = F.adaptive_max_pool2d(torch.from_numpy(mask)[None].float(), latent.shape[-2:])[0] > 0
            latents.append(latent[:, inside.to(device)].mean(dim=1).float().cpu())
    return torch.stack(latents).mean(dim=0)


def _part_around_prompt(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """The part `(size, size)` of a mask around its deepest point, mirrored beyond the edges."""
    row, column = deepest_point(mask)
    top, left = (
        max(0, min(round(centre) - size // 2, n - size))
        for centre, n in zip((row, column), mask.shape, strict=True)
    )
    part: NDArray[np.bool_] = mirror_pad(mask[None, top : top + size, left : left + size], size)[0]
    return part


def add_prompt(model: Model, prompted: PromptedMapping, prompt: Tensor) -> None:
    """Let a model of `promptless_model` answer everywhere as if this prompt, `(P,)`, were given."""
    method = model.method
    assert isinstance(method, GMS)
    weight = prompted.mapper.stem.weight[:, prompted.codec.channels :].detach().float().cpu()
    stem = method.mapper.stem
    assert stem.bias is not None
    with torch.no_grad():
        stem.bias += (weight.sum(dim=(2, 3)) @ prompt).to(stem.bias)


def fit_of_taught(
    model: Model, compute: Compute, taught: Sequence[Case], validation: Sequence[Case]
) -> FitReference:
    """A description of the images of a new structure, with which other images are compared.

    Few images have headers to compare with, but not enough latents to say which are unusual.

    Parameters
    ----------
    model, compute
        The new model on its device.
    taught, validation
        Its training images, one or more, and its validation images.
    """
    if len(taught) >= MIN_TRAINING_IMAGES:
        return fit_reference(model, compute, taught, validation)
    headers = HeaderRange.of(HeaderFacts.of(case.read_scan()) for case in taught)
    return FitReference(images=len(taught), headers=headers)


def model_name_of_structure(structure: str) -> str:
    """A valid name of a model, made from that of a structure.

    Examples
    --------
    >>> model_name_of_structure("Left kidney (cyst)")
    'left-kidney-cyst'
    """
    return re.sub(r"[^a-z0-9]+", "-", structure.lower()).strip("-") or "structure"
