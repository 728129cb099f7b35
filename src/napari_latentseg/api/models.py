"""Find, load, install, export and remove models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.utils.argument_types import as_path

if TYPE_CHECKING:
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.install_plan import InstallPlan
    from napari_latentseg.models.store import LocatedModel
    from napari_latentseg.training.method_info import MethodInfo

__all__ = [
    "export_model",
    "install_model",
    "list_methods",
    "list_models",
    "load_model",
    "locate_model",
    "plan_install",
    "remove_model",
]


def list_models() -> dict[str, ModelCard]:
    """The cards of all models on this machine: embedded, installed and fine-tuned. No weights are read.

    Returns
    -------
    dict
        The card of the version in use, by the name of the model. A folder with a damaged card is left out.

    Examples
    --------
    >>> from napari_latentseg import list_models
    >>> list_models()["breast-ultrasound"].modality
    'US'
    """
    from napari_latentseg.models.store import list_cards

    return list_cards()


def list_methods() -> list[MethodInfo]:
    """The segmentation methods that models can be trained with.

    Returns
    -------
    list of MethodInfo
        Paper, configurations, number of parameters and sampling sources of each.

    Examples
    --------
    >>> from napari_latentseg import list_methods
    >>> [method.name for method in list_methods()]
    ['gms', 'wave-gms', 'sdseg', 'medseglatdiff', 'guided', 'prompted']
    """
    from napari_latentseg.training.method_catalogue import describe_methods

    return describe_methods()


def locate_model(name: str | Path | LocatedModel) -> LocatedModel:
    """Find a model and read its card; its weights are not loaded.

    Other functions take what it returns in place of a name: the card is then read once for all of them.

    Parameters
    ----------
    name
        The name or the folder of a model. A string is a name first, a `Path` is a folder first.

    Returns
    -------
    LocatedModel
        Its folder and its card.

    Raises
    ------
    BadInput
        If there is no such model, or its card cannot be read.

    Examples
    --------
    >>> from napari_latentseg import locate_model
    >>> model = locate_model("breast-ultrasound")
    >>> model.folder.name, model.card.classes[0].name
    ('breast-ultrasound', 'lesion')
    """
    from napari_latentseg.models.store import locate_model as locate

    return locate(name)


def load_model(name: str | Path | LocatedModel, codec: str | Path | None = None) -> Model:
    """Load a model with its codec. Every file is checked against its SHA-256.

    Parameters
    ----------
    name
        The name or the folder of a model.
    codec
        Its codec, where it is not kept on this machine: a folder or file, or the name of a kept one.

    Returns
    -------
    Model
        On the CPU, in evaluation mode; `segment` moves it to the device that it runs on.

    Raises
    ------
    BadInput
        If the model or its codec is missing or damaged.

    Examples
    --------
    >>> from napari_latentseg import load_model, segment
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> model = load_model("breast-ultrasound")  # once, for several images
    >>> scans = [ultrasound_phantom(seed, shape=(96, 128)).scan for seed in (1, 2)]
    >>> [segment(scan, model, source="none").record.model.name for scan in scans]
    ['breast-ultrasound', 'breast-ultrasound']
    """
    from napari_latentseg.api.chosen_model import given_codec
    from napari_latentseg.models.store import load_model as load

    return load(name, given_codec(codec))


def install_model(
    source: str | Path,
    *,
    name: str | None = None,
    codec: str | Path | None = None,
    config: str | Path = "gms-busi",
    download: bool = False,
    replace: bool = False,
    as_version: bool = False,
    on_note: Callable[[str], None] = lambda text: None,
) -> ModelCard:
    """Install a model, so that it can be used by its name.

    Parameters
    ----------
    source
        A model folder, a zip file from `export_model`, or a checkpoint (.pth) that the authors of GMS
        published, which is converted.
    name
        The name of the model; that of its card or file where not given.
    codec
        The model's codec, where it is not kept on this machine yet: a folder or file, the name of a kept one,
        or a repository on the Hugging Face hub. What is given is kept from then on, see `add_codec`.
    config
        The training configuration that a checkpoint belongs to.
    download
        Whether the codec of a checkpoint may be downloaded from the hub.
    replace
        Whether an installed model of that name may be replaced.
    as_version
        Install it as a version of the model here that it was fine-tuned from, and use it from now on. One of
        the models that it was fine-tuned from must be here with the same weights; `name` is not used.
    on_note
        Called with a sentence on the codec, where it is kept from now on.

    Returns
    -------
    ModelCard
        The card of the installed model.

    Raises
    ------
    BadInput
        If the model or its codec is missing or damaged, or the name is taken; nothing is installed then.

    Examples
    --------
    >>> from napari_latentseg import export_model, install_model
    >>> path = export_model("breast-ultrasound", "breast-ultrasound.zip")
    >>> install_model(path, name="my-copy").name
    'my-copy'
    """
    from napari_latentseg.errors import BadInput
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.install import install_folder, install_gms_checkpoint, install_path
    from napari_latentseg.models.install_plan import check_is_model, install_as_version

    path = as_path("source", source)
    check_is_model(path)
    if as_version:
        return read_card(install_as_version(path, codec=codec or None, on_note=on_note))
    if path.is_dir():
        return read_card(install_folder(path, name, codec=codec or None, replace=replace, on_note=on_note))
    if path.suffix.lower() == ".zip":
        from napari_latentseg.models.archive import install_archive

        folder = install_archive(path, name, codec=codec or None, replace=replace, on_note=on_note)
        return read_card(folder)
    from napari_latentseg.training.config_files import load_config

    settings = load_config(config)
    model_name = (name or path.stem).lower()
    install_path(model_name, replace=replace)

    from napari_latentseg.models.gms_checkpoint import read_gms_checkpoint
    from napari_latentseg.models.store import open_codec
    from napari_latentseg.training.gms_release import published_card

    read_gms_checkpoint(path)  # what is no checkpoint is refused before a codec is asked for
    codec_source = codec or settings.codec
    if codec_source is None:
        raise BadInput("config", f"{settings.name} has no codec", "use gms-busi")
    loaded_codec, spec = open_codec(codec_source, revision=settings.codec_revision, download=download)
    card = published_card(path, model_name, settings, spec)
    folder = install_gms_checkpoint(
        path, card, loaded_codec, replace=replace, given_codec=codec, on_note=on_note
    )
    return read_card(folder)


def plan_install(source: str | Path) -> InstallPlan:
    """What a file or folder would install, and whether its name is taken; nothing is installed yet.

    Parameters
    ----------
    source
        As for `install_model`.

    Returns
    -------
    InstallPlan
        Name and title, and the model here that it is a version of.

    Raises
    ------
    BadInput
        If it is not a model.

    Examples
    --------
    >>> from napari_latentseg import api, export_model
    >>> plan = api.plan_install(export_model("breast-ultrasound", "breast-ultrasound.zip"))
    >>> plan.name, plan.is_taken, plan.free_name
    ('breast-ultrasound', True, 'breast-ultrasound-2')
    """
    from napari_latentseg.models.install_plan import plan_install as plan

    return plan(as_path("source", source))


def export_model(
    name: str | Path | LocatedModel, path: str | Path, *, replay: bool = False, overwrite: bool = False
) -> Path:
    """Write a model as one zip file, for `install_model` on another machine.

    Parameters
    ----------
    name
        The name of a model, whose version in use is written; or the folder of one.
    path
        The zip file to write, in a folder that exists.
    replay
        Whether the encoded patches of its training images are included, which keep it from forgetting when it
        is fine-tuned. Images can be reconstructed from them: include them only if these may be shared.
    overwrite
        Replace a file that already exists.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    BadInput
        If there is no such model, it is damaged, or the file already exists or cannot be written.

    Examples
    --------
    >>> from napari_latentseg import export_model
    >>> export_model("breast-ultrasound", "breast-ultrasound.zip").name
    'breast-ultrasound.zip'
    """
    from napari_latentseg.models.archive import export_model as export
    from napari_latentseg.utils.atomic import check_output_file

    file = as_path("path", path)
    check_output_file(file, (".zip",), overwrite=overwrite)
    return export(name, file, replay=replay)


def remove_model(name: str, version: str | None = None) -> None:
    """Remove an installed model and all versions that were fine-tuned from it, or one version.

    Of an embedded model only the fine-tuned versions are removed.

    Parameters
    ----------
    name
        The name of the model.
    version
        The version to remove. Default: all of them. If it was in use, the version that it was
        fine-tuned from is in use then.

    Raises
    ------
    BadInput
        If there is no such model or version, or it is embedded.

    Examples
    --------
    >>> from napari_latentseg import export_model, install_model, list_models, remove_model
    >>> card = install_model(export_model("breast-ultrasound", "breast-ultrasound.zip"), name="my-copy")
    >>> remove_model("my-copy")
    >>> "my-copy" in list_models()
    False
    """
    from napari_latentseg.models.install import remove_model as remove
    from napari_latentseg.models.remove_version import remove_version

    if version is None:
        remove(name)
    else:
        remove_version(name, version)
