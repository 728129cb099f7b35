"""Train models on annotated images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.api.chosen_model import given_codec, keep_codec_of_training
from napari_latentseg.utils.argument_types import as_path, as_paths

if TYPE_CHECKING:
    from napari_latentseg.data.label_names import LabelsOption
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.training.config import TrainingConfig
    from napari_latentseg.training.events import TrainEvent

__all__ = ["train"]


def train(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    config: str | Path = "gms-small",
    method: str | None = None,
    codec: str | Path | None = None,
    name: str | None = None,
    device: str = "auto",
    download: bool = False,
    resume: bool = False,
    changes: dict[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    labels: LabelsOption | None = None,
    split: str | Path | Sequence[str | Path] | None = None,
    select_on: str | None = None,
    perceptual: Sequence[str | Path] = (),
    class_texts: str | Path | None = None,
    on_event: Callable[[TrainEvent], None] = lambda event: None,
    on_note: Callable[[str], None] = lambda text: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ModelCard:
    """Train a model on annotated images, and write it as a model folder.

    Parameters
    ----------
    data
        One or several folders of annotated images: `images/` with `masks/` of the same names, an nnU-Net raw
        data set, images beside their `_mask` files, or an annotation store.
    out
        The model folder to write. It must not exist yet, or be empty.
    config
        The name of a configuration, or a JSON file.
    method
        Refuse a configuration of another method than this one.
    codec
        In place of the configuration's: ``"embedded"``, a folder or file, the name of a kept codec, or a
        repository on the Hugging Face hub. A folder or file is kept for the model, see `add_codec`.
    name
        The name of the model; that of the folder where not given.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    download
        Whether the codec may be downloaded from the hub.
    resume
        Continue a training that was stopped, from the checkpoint beside `out`. All other arguments must be
        the same.
    changes
        Fields of the configuration to change, such as ``{"epochs": 10}`` or ``{"members": 5}``.
    classes
        The classes of the model, by name: labels 1, 2, ... of the masks, unless `labels` says otherwise.
        Where neither they nor the configuration name classes, those that the folders name are learned, or a
        single one.
    labels
        What the labels of the masks mean, where neither the folder nor the model says it: a mapping such as
        ``{17: "hippocampus"}`` or ``{"any": "lesion"}``, the same as text, or a file.
    split
        A file, or several, that names the training, validation and test images: JSON, CSV, text with a name a
        line, or a pickle of names as that of GMS. Images of the test list are not used.
    select_on
        ``"validation"``, or ``"test"``: the weights are selected on the images of the test list, as in the
        code of several papers; the card then says that their figure is no test.
    perceptual
        Files of VGG16 as torchvision stores it and of the weights of LPIPS, which give the image autoencoder
        of guided latent diffusion its perceptual term.
    class_texts
        A file of text vectors, one for each class, in place of the learnt embedding of guided latent
        diffusion: a tensor ``"vectors"`` `(K, width)` as safetensors, or that tensor alone as `.pth`.
    on_event
        Called with every event, see `napari_latentseg.training.events`.
    on_note
        Called with a sentence on the codec, where it is kept from now on, or cannot be, and on classes that
        are left out because no data set annotates them.
    should_stop
        Asked after every batch, and ten times a second while the model is judged. True ends the training:
        the best weights so far are written, and a checkpoint beside them.

    Returns
    -------
    ModelCard
        The card of the model that was written; `unjudged` where its validation images were not segmented.

    Raises
    ------
    BadInput
        If the data, the configuration or the folder cannot be used; nothing is written then.
    Cancelled
        If it was stopped before there was a model; nothing but a checkpoint is written then.

    Notes
    -----
    In a script that `accelerate launch` or `torchrun` starts in several processes, these train one model
    together. `on_event` is then called in the main process alone, and all processes return the card. An error
    is raised by one of them; the others raise `errors.EndedElsewhere`.

    Examples
    --------
    >>> from napari_latentseg import train
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> data = write_annotated_phantoms("phantoms", 4, shape=(64, 64))
    >>> changes = {"epochs": 1, "batch_size": 2, "warmup_epochs": 0, "settings": {"width": 16}}
    >>> changes["preprocess"] = {"mode": "whole", "size": 64}
    >>> card = train(data, "lesions", codec="embedded", changes=changes)
    >>> card.name, card.method_name
    ('lesions', 'GMS')
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.io.result_names import check_case_code
    from napari_latentseg.models.card import CARD, ModelCard, read_card
    from napari_latentseg.training.config import with_changes
    from napari_latentseg.training.guided_files import guided_file_changes
    from napari_latentseg.training.output_dir import check_output_dir
    from napari_latentseg.training.processes import join_processes

    processes = join_processes(device)
    with processes.one_error():
        if name is not None:
            check_case_code(name, "name")
        folders, model_folder, given = as_paths("data", data), as_path("out", out), given_codec(codec)
        settings = processes.request.applied_to(_changed_config(config, changes, split, select_on))
        settings, left_out = _config_for_data(settings, folders, classes, labels, method, device)
        settings = with_changes(settings, guided_file_changes(settings, perceptual, class_texts))
        check_output_dir(model_folder, resume=resume)

        from napari_latentseg.models.store import open_codec
        from napari_latentseg.training.job import TrainingJob
        from napari_latentseg.training.method_checks import check_method

        codec_source = settings.codec if given is None else given
        check_method(settings, has_codec=bool(codec_source))
        loaded_codec, spec = None, None
        if codec_source:
            loaded_codec, spec = open_codec(codec_source, revision=settings.codec_revision, download=download)
        job = TrainingJob(
            folders, model_folder, settings, loaded_codec, spec, name=name, device=device,
            should_stop=should_stop, resume=resume, processes=processes,
            on_progress=on_event if processes.is_main else lambda event: None,
        )  # fmt: skip
        if processes.is_main:
            keep_codec_of_training(given, spec, on_note)
            if left_out:
                on_note(f"classes that no data set here annotates are left out: {', '.join(left_out)}")
        for event in job:
            if processes.is_main:
                on_event(event)
        if processes.count == 1:
            return read_card(model_folder)
        return ModelCard.model_validate_json(
            processes.main_says(lambda: (model_folder / CARD).read_text("utf-8"))
        )


def _changed_config(
    config: str | Path,
    changes: dict[str, Any] | None,
    split: str | Path | Sequence[str | Path] | None,
    select_on: str | None,
) -> TrainingConfig:
    """A configuration with the fields that a caller of `train` changes."""
    from napari_latentseg.training.config import with_changes
    from napari_latentseg.training.config_files import load_config

    as_path("config", config)  # an empty name would be that of the current folder
    settings = load_config(config)
    changes = dict(changes or {})
    if "epochs" in changes:
        # a number of epochs replaces a number of steps, and holds for every stage
        counts = {"epochs": None, "steps": None}
        stages = {name: stage.model_dump() | counts for name, stage in settings.stages.items()}
        changes = {"steps": None, "stages": stages} | changes
    if split is not None or select_on is not None:
        changes["split"] = _split_changes(settings, changes.get("split", {}), split, select_on)
    settings = with_changes(settings, changes)
    _check_member_changes(settings, changes)
    return settings


def _check_member_changes(settings: TrainingConfig, changes: Mapping[str, Any]) -> None:
    """Refuse what is asked of further members where there are none, or none that it is for.

    Raises
    ------
    BadInput
        With the field that would be passed over.
    """
    from napari_latentseg.errors import BadInput

    if settings.members == 1:
        for field in ("member_parts", "member_training"):
            if field in changes:
                why = "is for the further members, and the model has one"
                raise BadInput(field, why, "give --members 2 or more, or leave it out")
    elif "member_training" in changes and settings.member_parts == "all":
        why = "is for members that are predictors alone"
        raise BadInput("member_training", why, "give --member-parts predictor, or leave it out")


def _config_for_data(
    settings: TrainingConfig,
    folders: Sequence[Path],
    classes: Sequence[str] | None,
    labels: LabelsOption | None,
    method: str | None,
    device: str,
) -> tuple[TrainingConfig, list[str]]:
    """A configuration with the classes of some folders, and the classes that none of them annotates.

    Raises
    ------
    BadInput
        If it is of another method than the one asked for, cannot be computed on the device, or the folders
        cannot be used.
    """
    from napari_latentseg.data.label_names import parse_label_names
    from napari_latentseg.errors import BadInput
    from napari_latentseg.training.config import with_changes
    from napari_latentseg.training.datasets import find_datasets
    from napari_latentseg.training.named_classes import class_changes, unannotated_classes, without_classes
    from napari_latentseg.utils.device import check_device_and_precision

    label_names = None if labels is None else parse_label_names(labels)
    settings = with_changes(settings, class_changes(folders, settings, classes, label_names))
    if method is not None and method != settings.method:
        raise BadInput(
            "method", f"{settings.name} is a configuration of {settings.method}", "choose one of its own"
        )
    check_device_and_precision(device, settings.precision)
    datasets = find_datasets(folders, settings)
    left_out = unannotated_classes(datasets)
    if left_out:
        settings = with_changes(settings, without_classes(settings, left_out, datasets))
    return settings, left_out


def _split_changes(
    settings: TrainingConfig,
    changes: Any,
    split: str | Path | Sequence[str | Path] | None,
    select_on: str | None,
) -> dict[str, Any]:
    """The field `split` of a configuration with lists of images."""
    values = settings.split.model_dump() | dict(changes)
    if split is not None:
        values["lists"] = [str(file) for file in as_paths("split", split)]
    return values if select_on is None else values | {"select_on": select_on}
