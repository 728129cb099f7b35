"""Fine-tune models on a few corrected images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.api.chosen_model import keep_codec_of_training
from napari_latentseg.utils.argument_types import as_path, as_paths

if TYPE_CHECKING:
    from napari_latentseg.data.label_names import LabelsOption
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.training.events import FineTuneEvent

__all__ = ["FineTuned", "finetune"]


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned model that waits for a decision.

    Attributes
    ----------
    card
        Its card.
    folder
        Its folder, which holds `comparison.json`; `adopt_model` and `discard_model` take it.
    verdict
        What the comparison with its base on the validation cases says, in a sentence.
    is_stopped
        Whether the training was stopped before its end.

    Examples
    --------
    >>> from napari_latentseg import FineTuned, list_models
    >>> card = list_models()["breast-ultrasound"]
    >>> FineTuned(card, Path("breast-ultrasound-tuned"), "Better on 4 of 5 cases.").verdict
    'Better on 4 of 5 cases.'
    """

    card: ModelCard
    folder: Path
    verdict: str
    is_stopped: bool = False


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
    labels: LabelsOption | None = None,
    reader: str | None = None,
    structure: str | None = None,
    long_side: int | None = None,
    on_event: Callable[[FineTuneEvent], None] = lambda event: None,
    on_note: Callable[[str], None] = lambda text: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> FineTuned:
    """Fine-tune a model on a few corrected images, and compare the new model with its base.

    The base is not changed. The new model is a candidate until it is adopted or discarded.

    Parameters
    ----------
    base
        The name or the folder of a model. Of one with several members the first is fine-tuned, and kept
        alone.
    data
        One or several folders of annotated images: `images/` with `masks/`, an nnU-Net raw data set, images
        beside their `_mask` files, or an annotation store. Of an image that is approved in part, only the
        approved slices are used.
    out
        The folder of the candidate; in the package's data folder where not given.
    minutes
        The time for everything but the comparison, above 0 and at most a day.
    name
        The name of the candidate, and of the new model if it is kept beside its base.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    seed
        Draws the validation cases, the augmentation and the batches; 0 or more.
    codec
        The model's codec, where it is not kept on this machine: a folder or file, or the name of a kept one.
    resume
        Continue a fine-tuning that was stopped, from the checkpoint beside `out`.
    labels
        What the labels of the masks mean, where neither the folder nor the model says it: a mapping such as
        ``{17: "hippocampus"}`` or ``{"any": "lesion"}``, the same as text, or a file.
    reader
        Where several readers annotated one image, each in a file of its own: a part of the names of the files
        whose masks are used. Where not given, and for images without such a file, the first by name is used.
    structure
        Of a base that is pointed at, such as ``"any-structure"``: the name of what the masks show. The new
        model segments it without being pointed at, and is always kept beside its base.
    long_side
        With `structure`: the number of pixels on the longer side of the image at which the new model works,
        in tiles where that is more than the base sees at once; from the base's working size (128), which
        stands for whole images, to 4096. Where not given it is chosen by what the masks keep at each scale.
    on_event
        Called with every event, see `napari_latentseg.training.events`.
    on_note
        Called with a sentence on the codec, where it is kept from now on, or cannot be.
    should_stop
        Asked after every step. True ends the training: the best weights so far are compared with the base and
        written, and a checkpoint beside them.

    Returns
    -------
    FineTuned
        The card and the folder of the candidate, for `adopt_model` or `discard_model`, and the verdict of the
        comparison with its base.

    Raises
    ------
    BadInput
        If there is no such model, or the data cannot be used; nothing is written then.
    Cancelled
        If it was stopped before there was a model; nothing but a checkpoint is written then.

    Examples
    --------
    >>> from napari_latentseg import finetune
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> data = write_annotated_phantoms("corrected", 3, shape=(96, 96))
    >>> tuned = finetune("breast-ultrasound", data, minutes=0.02)
    >>> tuned.card.name, tuned.card.parent, tuned.folder.name
    ('breast-ultrasound-tuned', 'breast-ultrasound 2', 'breast-ultrasound-tuned')
    >>> len(tuned.verdict) > 10
    True
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.annotations.annotated_folder import check_annotated_folders
    from napari_latentseg.data.label_names import parse_label_names
    from napari_latentseg.io.result_names import check_case_code
    from napari_latentseg.models.store import find_model
    from napari_latentseg.utils.device import check_device_and_precision

    label_names = None if labels is None else parse_label_names(labels)
    base_folder, folders = find_model(base), as_paths("data", data)
    check_device_and_precision(device, "auto")
    if name is not None:
        check_case_code(name, "name")
    check_annotated_folders(folders)

    from napari_latentseg.finetuning.interrupted import ResumeRequest
    from napari_latentseg.finetuning.job import FineTuneJob
    from napari_latentseg.models.card import read_card

    request = ResumeRequest.of(
        base, folders, minutes, device=device, labels=labels, reader=reader, structure=structure,
        long_side=long_side, codec=codec,
    )  # fmt: skip
    job = FineTuneJob(
        base_folder, folders, None if out is None else as_path("out", out), minutes=minutes, name=name,
        device=device, seed=seed, should_stop=should_stop, resume=resume, codec=codec,
        label_names=label_names, reader=reader, structure=structure, long_side=long_side,
        request=request, on_progress=on_event,
    )  # fmt: skip
    keep_codec_of_training(codec, job.model.card.codec, on_note)
    verdict, is_stopped = "", False
    for event in job:
        if event.event == "judged":
            verdict = event.line
        elif event.event == "saved":
            is_stopped = event.stopped
        on_event(event)
    return FineTuned(read_card(job.out), job.out, verdict, is_stopped)
