"""The Python API: what the command line and the widgets do, as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.io import read_scan
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    from napari_latentseg.core.postprocess import PostProcess
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.versions import Version
    from napari_latentseg.training.events import FineTuneEvent, TrainEvent

__all__ = [
    "adopt_model",
    "calibrate",
    "discard_model",
    "evaluate",
    "export_model",
    "finetune",
    "install_model",
    "list_methods",
    "list_models",
    "load_model",
    "model_history",
    "read_scan",
    "remove_model",
    "revert_model",
    "segment",
    "train",
]


def list_models() -> dict[str, ModelCard]:
    """The cards of the models at hand, by name; no weights are read."""
    from napari_latentseg.models.store import list_cards

    return list_cards()


def list_methods() -> list[dict[str, Any]]:
    """What each method is, see `napari_latentseg.training.method_catalogue.describe_methods`."""
    from napari_latentseg.training.method_catalogue import describe_methods

    return describe_methods()


def install_model(
    source: str | Path,
    *,
    name: str | None = None,
    codec: str | None = None,
    config: str | Path = "gms-busi",
    download: bool = False,
    replace: bool = False,
) -> ModelCard:
    """Install a model, so that it can be called by its name.

    Parameters
    ----------
    source
        A model folder; a zip that `export_model` wrote; or a checkpoint (.pth) that the authors of GMS
        published, which is converted.
    name
        Of the model; that of its card or file where not given.
    codec
        The folder of its codec where it lies apart; of a checkpoint also a repository on the hub, in place of
        the configuration's.
    config
        The training configuration that a checkpoint came from.
    download
        Whether the hub may be asked for the codec of a checkpoint.
    replace
        Whether an installed model of that name is replaced.

    Returns
    -------
    ModelCard
        Of the model in the store.

    Raises
    ------
    BadInput
        Where something does not fit; nothing is installed then.
    """
    from napari_latentseg.errors import BadInput
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.install import install_folder, install_gms_checkpoint, install_path

    path = Path(source)
    if path.is_dir():
        codec_folder = Path(codec) if codec else None
        return read_card(install_folder(path, name, codec=codec_folder, replace=replace))
    if not path.is_file():
        raise BadInput(source, "no such file or folder", "give a model folder, or a .pth checkpoint of GMS")
    if path.suffix.lower() == ".zip":
        from napari_latentseg.models.archive import install_archive

        return read_card(install_archive(path, name, codec=Path(codec) if codec else None, replace=replace))
    from napari_latentseg.training.config import load_config

    settings = load_config(config)
    model_name = (name or path.stem).lower()
    install_path(model_name, replace=replace)

    from napari_latentseg.models.store import open_codec
    from napari_latentseg.training.gms_release import published_card

    codec_source = codec or settings.codec
    if codec_source is None:
        raise BadInput("config", f"{settings.name} has no codec", "use gms-busi")
    loaded_codec, spec = open_codec(codec_source, revision=settings.codec_revision, download=download)
    card = published_card(path, model_name, settings, spec)
    return read_card(install_gms_checkpoint(path, card, loaded_codec, replace=replace))


def export_model(name: str | Path, path: str | Path, *, replay: bool = False) -> Path:
    """Write a model as one file; see `napari_latentseg.models.archive.export_model`."""
    from napari_latentseg.models.archive import export_model as export

    return export(name, Path(path), replay=replay)


def model_history(name: str) -> list[Version]:
    """The versions of a model, the oldest first; see `napari_latentseg.models.versions.list_versions`."""
    from napari_latentseg.models.versions import list_versions

    return list_versions(name)


def adopt_model(candidate: str | Path, *, keep_both: bool = False) -> ModelCard:
    """Put a model that was taught into use; see `napari_latentseg.models.versions.adopt`."""
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.versions import adopt

    return read_card(adopt(candidate, keep_both=keep_both))


def revert_model(name: str, version: str | None = None) -> ModelCard:
    """Go back to another version of a model; see `napari_latentseg.models.versions.revert`."""
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.versions import revert

    return read_card(revert(name, version))


def discard_model(candidate: str | Path) -> None:
    """Remove a model that was taught and is not wanted; see `napari_latentseg.models.versions.discard`."""
    from napari_latentseg.models.versions import discard

    discard(candidate)


def remove_model(name: str) -> None:
    """Remove an installed model; see `napari_latentseg.models.install.remove_model`."""
    from napari_latentseg.models.install import remove_model as remove

    remove(name)


def load_model(name: str | Path, codec: str | Path | None = None) -> Model:
    """Load a model with its codec; see `napari_latentseg.models.store.load_model`."""
    from napari_latentseg.models.store import load_model as load

    return load(name, codec)


def _card(model: Model | str | Path) -> ModelCard:
    """The card of a model, without loading the model."""
    if not isinstance(model, str | Path):
        return model.card
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.store import find_model

    return read_card(find_model(model))


def segment(
    scan: Scan | str | Path,
    model: Model | str | Path,
    *,
    samples: int | None = None,
    source: str | None = None,
    seed: int = 0,
    threshold: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    codec: str | Path | None = None,
    series: int | None = None,
    channel: int | None = None,
    plane: str = "acquired",
    slices: tuple[int, int] | None = None,
    box: tuple[int, int, int, int] | None = None,
    classes: Sequence[str] | None = None,
    cleanup: PostProcess | None = None,
    tolerance: float | None = None,
    progress: Progress = no_progress,
) -> Segmentation:
    """Segment a scan.

    Parameters
    ----------
    scan
        A scan, or the path of one.
    model
        A model, the name of one, or its folder.
    samples, source, threshold
        As the model's card has them where not given.
    seed
        The same seed gives the same result on the same machine.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    precision
        ``"auto"``, ``"float32"`` or ``"bfloat16"``.
    codec
        The folder of the model's codec, where it lies apart.
    series
        Which of several images in a file or folder, counted from 1.
    channel
        Which channel, counted from 1, of an image whose channels are not colours.
    plane
        How a volume in the patient is cut into planes: see `napari_latentseg.core.reorient.reorient`. The result
        lies as the scan does.
    slices
        First and last of these planes to work on, counted from 1; all where not given. The others hold
        nothing in the result.
    box
        The rows and columns of these planes to work on, half-open and counted from 0: top, left, bottom,
        right; all where not given. Nothing around it is read, and the result is empty there.
    classes
        The names of the classes that are wanted; all where not given.
    cleanup
        What is mended of the mask: see `napari_latentseg.core.postprocess.PostProcess`.
    tolerance
        Draw no more samples than change the mask by more than this (1 - DSC), `samples` at most; all of
        them where not given.
    progress
        Called with the fraction done, in [0, 1].

    Returns
    -------
    Segmentation
        Mask, mean, variance and the record of the run.

    Raises
    ------
    BadInput
        Where something given cannot be used.

    Examples
    --------
    >>> from napari_latentseg import segment
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> found = segment(ultrasound_phantom().scan, "breast-ultrasound", samples=3)
    >>> found.mask.shape, found.record.samples
    ((256, 320), 3)
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.core.reorient import reorient, select_channel
    from napari_latentseg.inference.settings import InferenceSettings

    settings = InferenceSettings.for_model(
        _card(model), samples=samples, source=source, seed=seed, threshold=threshold, device=device,
        precision=precision, slices=None if slices is None else (slices[0] - 1, slices[1] - 1), box=box,
        classes=classes, cleanup=cleanup, tolerance=tolerance,
    )  # fmt: skip
    input_scan = read_scan(scan, series=series) if isinstance(scan, str | Path) else scan
    if channel is not None:
        input_scan = select_channel(input_scan, channel)
    reorient(input_scan, plane)  # refuses planes that the scan does not have

    from napari_latentseg.inference.predictor import Predictor

    loaded_model = load_model(model, codec) if isinstance(model, str | Path) else model
    run = Predictor(loaded_model, device, precision).start(input_scan, settings, plane)
    for run_progress in run:
        progress(run_progress.fraction)
    result = run.result()
    assert result is not None  # a run that was not stopped has every sample
    return result


def train(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    config: str | Path = "gms-small",
    method: str | None = None,
    codec: str | None = None,
    name: str | None = None,
    device: str = "auto",
    download: bool = False,
    resume: bool = False,
    changes: dict[str, Any] | None = None,
    on_event: Callable[[TrainEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ModelCard:
    """Train a model on folders of images and masks, and write it as a model folder.

    Parameters
    ----------
    data
        Holds `images/` and `masks/`; or several that do, whose labels the configuration explains.
    out
        The model folder to be; must not be there yet.
    config
        The name of a configuration, or a JSON file.
    method
        Where given, must be the configuration's; a guard against a slip.
    codec
        In place of the configuration's: ``"embedded"``, a folder, or a repository on the hub.
    name
        Of the model; that of the folder where not given.
    device
        See `segment`.
    download
        Whether the hub may be asked for the codec.
    resume
        Go on with a training that was stopped, from the checkpoint beside `out`; the rest must be as it was.
    changes
        Fields of the configuration to change, such as ``{"epochs": 10}`` or ``{"members": 5}``.
    on_event
        Called with every event, see `napari_latentseg.training.events`.
    should_stop
        Asked after every batch; True ends the training with what was best, and keeps a checkpoint.

    Returns
    -------
    ModelCard
        Of the model that was written.

    Raises
    ------
    BadInput
        Where something given cannot be used; nothing is written then.
    Cancelled
        Where it was stopped before anything was learnt; nothing is written then.
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.errors import BadInput
    from napari_latentseg.models.card import read_card
    from napari_latentseg.training.config import load_config, with_changes
    from napari_latentseg.training.datasets import find_datasets
    from napari_latentseg.training.output_dir import check_output_dir
    from napari_latentseg.utils.device import check_device_and_precision

    settings = load_config(config)
    changes = dict(changes or {})
    if "epochs" in changes:  # who says how many epochs does not mean a number of steps, and means every stage
        counts = {"epochs": None, "steps": None}
        stages = {name: stage.model_dump() | counts for name, stage in settings.stages.items()}
        changes = {"steps": None, "stages": stages} | changes
    settings = with_changes(settings, changes)
    if method is not None and method != settings.method:
        raise BadInput(
            "method", f"{settings.name} is a configuration of {settings.method}", "choose one of its own"
        )
    check_device_and_precision(device, settings.precision)
    folders = [Path(data)] if isinstance(data, str | Path) else [Path(folder) for folder in data]
    find_datasets(folders, settings)
    check_output_dir(Path(out), resume=resume)

    from napari_latentseg.models.store import open_codec
    from napari_latentseg.training.job import TrainingJob

    loaded_codec, spec = None, None
    if codec_source := codec or settings.codec:
        loaded_codec, spec = open_codec(codec_source, revision=settings.codec_revision, download=download)
    job = TrainingJob(
        folders,
        Path(out),
        settings,
        loaded_codec,
        spec,
        name=name,
        device=device,
        should_stop=should_stop,
        resume=resume,
    )
    for event in job:
        on_event(event)
    return read_card(Path(out))


def finetune(
    base: str | Path,
    data: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    minutes: float = 2.0,
    name: str | None = None,
    device: str = "auto",
    seed: int = 0,
    codec: str | Path | None = None,
    resume: bool = False,
    on_event: Callable[[FineTuneEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ModelCard:
    """Teach a model from a few corrected images, and judge it beside its base, which is not changed.

    Parameters
    ----------
    base
        The name of a model, or its folder.
    data
        Folders of annotated images: `images/` with `masks/`, an nnU-Net raw data set, or a store of
        annotations. Of what is approved in part, only the approved slices count.
    out
        The candidate's folder; among the candidates where not given.
    minutes
        For everything but the judging.
    name
        Of the new model, where it is kept beside its base.
    device
        See `segment`.
    seed
        Draws the split, the variations and the batches.
    codec
        The folder of the model's codec, where it lies apart.
    resume
        Go on with one that was stopped, from the checkpoint beside `out`.
    on_event
        Called with every event, see `napari_latentseg.training.events`.
    should_stop
        Asked after every step; True ends the learning with what was best, and keeps a checkpoint.

    Returns
    -------
    ModelCard
        Of the candidate, which waits for `adopt_model` or `discard_model`. Its folder holds
        `comparison.json`.

    Raises
    ------
    BadInput
        Where something given cannot be used; nothing is written then.
    Cancelled
        Where it was stopped before anything was learnt; nothing is written then.
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.models.store import find_model
    from napari_latentseg.utils.device import check_device_and_precision

    find_model(base)
    check_device_and_precision(device, "auto")

    from napari_latentseg.finetuning.job import FineTuneJob
    from napari_latentseg.models.card import read_card

    job = FineTuneJob(
        base, data, None if out is None else Path(out), minutes=minutes, name=name, device=device, seed=seed,
        should_stop=should_stop, resume=resume, codec=codec,
    )  # fmt: skip
    for event in job:
        on_event(event)
    return read_card(job.out)


def evaluate(
    model: Model | str | Path,
    data: str | Path,
    *,
    samples: int | None = None,
    source: str | None = None,
    seed: int = 0,
    threshold: float | None = None,
    device: str = "auto",
    subset: str = "all",
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Score a model on annotated images.

    Parameters
    ----------
    model
        A model, the name of one, or its folder.
    data
        Holds `images/` and `masks/`.
    samples, source, seed, threshold, device
        See `segment`.
    subset
        ``"all"``, or ``"validation"``: only the images that the model's own split kept apart.
    progress
        Called with the fraction done.

    Returns
    -------
    dict
        `mean` with `dsc`, `iou` (in [0, 1]) and `hd95` (pixels), `std`, `images`, `trained_on` (how many of
        the images the model has learned from), `kept_apart` (how many it was judged by in training, so that
        its weights may have been chosen by them) and `conventions`.
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.data.cases import find_cases
    from napari_latentseg.errors import BadInput
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.split import read_split
    from napari_latentseg.models.store import find_model

    card = _card(model)
    settings = InferenceSettings.for_model(
        card, samples=samples, source=source, seed=seed, threshold=threshold, device=device
    )
    if subset not in ("all", "validation"):
        raise BadInput("subset", f"{subset!r} is not known", "use all or validation")
    cases = find_cases(Path(data))
    split = read_split(find_model(model) if isinstance(model, str | Path) else model.folder)
    if subset == "validation":
        cases = [c for c in cases if split.part_of(c) == "validation"]
        if not cases:
            raise BadInput(
                data,
                f"holds none of the images that {card.name} kept apart",
                "give the data it was trained on",
            )

    from napari_latentseg.inference.evaluate import Evaluation
    from napari_latentseg.inference.predictor import Predictor

    loaded_model = load_model(model) if isinstance(model, str | Path) else model
    evaluation = Evaluation(Predictor(loaded_model, device), settings, cases, split)
    for fraction in evaluation.run():
        progress(fraction)
    return evaluation.report()


def calibrate(
    model: str | Path,
    data: str | Path,
    *,
    samples: int | None = None,
    source: str | None = None,
    seed: int = 0,
    level: float = 0.9,
    device: str = "auto",
    subset: str = "validation",
    out: str | Path | None = None,
    on_note: Callable[[str], None] = lambda text: None,
    progress: Progress = no_progress,
) -> ModelCard:
    """Judge a model's doubt on annotated images, and write what was found into its card.

    Whether its mean probabilities are what they say is measured on all of the images. The intervals for areas
    and volumes are fitted to one half of them, and tested on the other.

    Parameters
    ----------
    model
        The name of a model, or its folder.
    data
        Holds `images/` and `masks/`.
    samples, source, seed, device
        See `segment`; three samples at least. An interval belongs to this number and source.
    level
        How often an interval is to hold.
    subset
        ``"validation"``: the images that the model's own split kept apart; ``"all"``: all of them, of which
        none may have been trained on.
    out
        A folder for a copy of the model with what was found; a model that came with the package needs one.
    on_note
        Called with what could not be had, and why, in plain words.
    progress
        Called with the fraction done.

    Returns
    -------
    ModelCard
        As written, with `reliability` and, where the images are enough, `volume_interval`.
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.data.cases import find_cases
    from napari_latentseg.errors import BadInput
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.split import read_split
    from napari_latentseg.models.store import find_model
    from napari_latentseg.models.update_card import check_can_update_card, update_card

    folder, output_folder = find_model(model), Path(out) if out is not None else None
    settings = InferenceSettings.for_model(
        _card(model), samples=samples, source=source, seed=seed, device=device
    )
    if not 0 < level < 1:
        raise BadInput("level", f"is {level:g}", "give one between 0 and 1, such as 0.9")
    if subset not in ("all", "validation"):
        raise BadInput("subset", f"{subset!r} is not known", "use all or validation")
    check_can_update_card(folder, output_folder)
    cases, split = find_cases(Path(data)), read_split(folder)
    if subset == "validation":
        cases = [c for c in cases if split.part_of(c) == "validation"]
        if not cases:
            raise BadInput(
                data,
                "holds none of the images that the model kept apart",
                "give the data it was trained on, or --subset all with images that are new to it",
            )

    from napari_latentseg.inference.calibrate import Calibration
    from napari_latentseg.inference.predictor import Predictor

    calibration = Calibration(Predictor(load_model(model), device), settings, cases, split)
    for fraction in calibration.run():
        progress(fraction)
    card_updates: dict[str, Any] = {"reliability": calibration.reliability(), "volume_interval": None}
    try:
        card_updates["volume_interval"] = calibration.volume_interval(level)
    except BadInput as error:
        on_note(f"no interval: {error}")
    return update_card(folder, card_updates, output_folder)
