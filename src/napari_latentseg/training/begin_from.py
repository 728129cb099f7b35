"""A training that begins with the weights of a model instead of random ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.latent_matching import MatchingConfig
from napari_latentseg.models.card import ModelCard, TrainingData, read_card
from napari_latentseg.models.layout import WEIGHTS_FILE
from napari_latentseg.models.split import Split, read_split
from napari_latentseg.models.store import find_model
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.utils.weights import load_weights

__all__ = ["InitialModel", "read_initial_model"]


@dataclass(frozen=True)
class InitialModel:
    """The model that a training begins from.

    Attributes
    ----------
    folder
        Of the model.
    card
        Its card.
    split
        The images that it has learnt from already.
    """

    folder: Path
    card: ModelCard
    split: Split

    def load_into(self, method: Method) -> None:
        """Give a method the weights of the model's first member.

        Where it has other latents of masks (`MatchingConfig.mask_latents`) or skip connections where the
        model has none, the last layers of the mapper, which predict the masks, begin anew; the whole mapper
        where it has another width; and the prediction of the quality of answers where the model has none.

        Parameters
        ----------
        method
            Built with the settings of the training.

        Raises
        ------
        BadInput
            If its networks are not those of the model.
        """
        try:
            load_weights(
                method.trainable_modules, self.folder / WEIGHTS_FILE, without=self._not_taken(method)
            )
        except BadInput as error:
            raise BadInput(
                f"begin_from {self.card.name}",
                f"does not fit the settings: {error.why}",
                "use those of its card",
            ) from error

    def _not_taken(self, method: Method) -> tuple[str, ...]:
        """The prefixes of the weights that a method does not take from the model."""
        new = method.config
        if not isinstance(new, MatchingConfig):
            return ()
        model = type(new).model_validate(self.card.settings)
        anew: tuple[str, ...] = ()
        if model.skips != new.skips:
            anew = (*(f"{name}.skips." for name in ("conditioner", "pyramid")), "mapper.heads.")
        if model.mask_latents != new.mask_latents:
            anew = (*anew, "mapper.heads.")
        if getattr(model, "quality", False) != getattr(new, "quality", False):
            anew = (*anew, "quality.")
        return (*anew, "mapper.") if model.width != new.width else anew

    def blend_into(self, method: Method, share: float) -> None:
        """Replace the weights of a method by their weighted mean with those of the model's first member.

        Parameters
        ----------
        method
            Trained, having begun with the weights of the model.
        share
            Of the model's weights, in [0, 1); 0 leaves those of the method.
        """
        if not share:
            return
        trained = {name: v.clone() for name, v in method.trainable_modules.state_dict().items()}
        self.load_into(method)
        with torch.no_grad():
            for name, value in method.trainable_modules.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(trained[name], 1 - share)
                else:  # counts of batches
                    value.copy_(trained[name])

    def check_validation(self, validation: Iterable[str]) -> None:
        """Refuse validation images that the model has learnt from, since their scores would be too high.

        Parameters
        ----------
        validation
            The `Scan.content_sha256` of the validation images.

        Raises
        ------
        BadInput
            If there are such images.
        """
        if learnt := len(set(validation) & self.split.train):
            raise BadInput(
                f"begin_from {self.card.name}",
                f"has learnt from {learnt} of the validation images",
                "use the split of its training, or other images",
            )

    def records_with(self, records: tuple[TrainingData, ...]) -> tuple[TrainingData, ...]:
        """The data sets of a training, and those that the model alone has learnt from.

        Parameters
        ----------
        records
            Of the training.
        """
        names = {record.name for record in records}
        return records + tuple(record for record in self.card.training_data if record.name not in names)


def read_initial_model(config: TrainingConfig, spec: CodecSpec | None) -> InitialModel | None:
    """The model that `begin_from` names; None where it names none.

    Parameters
    ----------
    config
        Of the training.
    spec
        Of its codec; None for a method that trains its own.

    Raises
    ------
    BadInput
        If there is no such model, or it is one of another method or codec; or if a stage is left out, and
        there is no model whose weights it keeps.
    """
    if not config.begin_from:
        if left_out := [name for name in config.stages if config.leaves_out(name)]:
            why = "is 0, which leaves the stage out, but there are no weights for what it trains"
            raise BadInput(f"stages.{left_out[0]}.epochs", why, "give --begin-from, or 1 or more")
        return None
    folder = find_model(config.begin_from)
    card = read_card(folder)
    subject = f"begin_from {card.name}"
    if card.method != config.method:
        raise BadInput(
            subject, f"is a model of {card.method}, not of {config.method}", "choose another model"
        )
    if (card.codec and card.codec.sha256) != (spec and spec.sha256):
        raise BadInput(subject, "has another codec", f"set codec to that of {card.name}")
    if config.pretrained_unet:
        raise BadInput("pretrained_unet", f"has no place beside {subject}", "give one of the two")
    return InitialModel(folder, card, read_split(folder))
