"""The Python API: what the command line and the widgets do, as functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.formats import read_scan

if TYPE_CHECKING:
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.folder import Model
    from napari_latentseg.scan import Scan
    from napari_latentseg.segmentation import Segmentation

__all__ = ["evaluate", "list_models", "load_model", "read_scan", "segment", "train"]

Progress = Callable[[float], None]


def _silent(done: float) -> None:
    return None


def list_models() -> dict[str, ModelCard]:
    """The cards of the models at hand, by name; no weights are read."""
    from napari_latentseg.models.store import list_cards

    return list_cards()


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
    progress: Progress = _silent,
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
    >>> from napari_latentseg.samples import ultrasound_phantom
    >>> found = segment(ultrasound_phantom().scan, "breast-ultrasound", samples=3)
    >>> found.mask.shape, found.record.samples
    ((256, 320), 3)
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.inference.request import Request

    request = Request.of(
        _card(model), samples=samples, source=source, seed=seed, threshold=threshold, device=device,
        precision=precision,
    )  # fmt: skip
    opened = read_scan(scan) if isinstance(scan, str | Path) else scan

    from napari_latentseg.inference.predictor import Predictor

    loaded = load_model(model, codec) if isinstance(model, str | Path) else model
    run = Predictor(loaded, device, precision).start(opened, request)
    for step in run:
        progress(step.done)
    found = run.result()
    assert found is not None
    return found


def train(
    data: str | Path,
    out: str | Path,
    *,
    config: str | Path = "gms-small",
    method: str | None = None,
    codec: str | None = None,
    name: str | None = None,
    device: str = "auto",
    download: bool = False,
    changes: dict[str, Any] | None = None,
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> ModelCard:
    """Train a model on a folder of images and masks, and write it as a model folder.

    Parameters
    ----------
    data
        Holds `images/` and `masks/`.
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
    changes
        Fields of the configuration to change, such as ``{"epochs": 10}``.
    on_event
        Called with every event of the training.
    stop
        Asked after every epoch; True ends the training with what was best.

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
    from napari_latentseg.files import free_folder
    from napari_latentseg.models.card import read_card
    from napari_latentseg.pairs import find_pairs
    from napari_latentseg.precision import check_choice
    from napari_latentseg.training.config import changed, load_config

    settings = changed(load_config(config), changes or {})
    if method is not None and method != settings.method:
        raise BadInput(
            "method", f"{settings.name} is a configuration of {settings.method}", "choose one of its own"
        )
    check_choice(device, settings.precision)
    find_pairs(Path(data))
    free_folder(Path(out))

    from napari_latentseg.models.store import open_codec
    from napari_latentseg.training.job import TrainingJob

    opened, spec = None, None
    if wanted := codec or settings.codec:
        opened, spec = open_codec(wanted, revision=settings.codec_revision, download=download)
    job = TrainingJob(Path(data), Path(out), settings, opened, spec, name=name, device=device, stop=stop)
    for event in job:
        on_event(event)
    return read_card(Path(out))


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
    progress: Progress = _silent,
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
        the images the model has learned from) and `conventions`.
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.errors import BadInput
    from napari_latentseg.inference.request import Request
    from napari_latentseg.models.layout import read_split
    from napari_latentseg.models.store import find_model
    from napari_latentseg.pairs import find_pairs

    card = _card(model)
    request = Request.of(card, samples=samples, source=source, seed=seed, threshold=threshold, device=device)
    if subset not in ("all", "validation"):
        raise BadInput("subset", f"{subset!r} is not known", "use all or validation")
    pairs = find_pairs(Path(data))
    split = read_split(find_model(model) if isinstance(model, str | Path) else model.folder)
    if subset == "validation":
        pairs = [p for p in pairs if p.key in split["validation"]]
        if not pairs:
            raise BadInput(
                data,
                f"holds none of the images that {card.name} kept apart",
                "give the data it was trained on",
            )

    from napari_latentseg.inference.evaluate import Evaluation
    from napari_latentseg.inference.predictor import Predictor

    loaded = load_model(model) if isinstance(model, str | Path) else model
    evaluation = Evaluation(Predictor(loaded, device), request, pairs, frozenset(split["train"]))
    for done in evaluation.run():
        progress(done)
    return evaluation.report()
