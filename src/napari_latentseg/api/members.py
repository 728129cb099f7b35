"""Further members for a model that exists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.utils.argument_types import as_path, as_paths

if TYPE_CHECKING:
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.training.events import TrainEvent

__all__ = ["train_members"]


def train_members(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    members: int = 3,
    epochs: int | None = None,
    name: str | None = None,
    device: str = "auto",
    codec: str | Path | None = None,
    resume: bool = False,
    changes: dict[str, Any] | None = None,
    on_event: Callable[[TrainEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ModelCard:
    """Train further members of a model on its conditioner, and write all of them as a new model folder.

    The model is the first member. Each further one is another predictor (the mapper of GMS and Wave-GMS, the
    denoiser of SDSeg) with a seed and a bootstrap sample of the training images of its own. Configuration and
    split are those of the model.

    Parameters
    ----------
    model
        The name or the folder of a model with one member, which is not changed.
    data
        The folders of annotated images that the model was trained on. Images that it was neither trained nor
        validated on are not used.
    out
        The model folder to write. It must not exist yet, or be empty.
    members
        How many the new model has, with the first one.
    epochs
        Of each further member; a third of the model's where neither this nor its configuration says.
    name
        The name of the new model; that of the folder where not given.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    codec
        The model's codec, where it is not kept on this machine.
    resume
        Continue a training that was stopped, from the checkpoint beside `out`. All other arguments must be
        the same.
    changes
        Further fields of the configuration to change, such as ``{"member_images": "all"}``.
    on_event
        Called with every event, see `napari_latentseg.training.events`.
    should_stop
        Asked after every batch, and ten times a second while the model is judged. True ends the training:
        the best weights so far are written, and a checkpoint beside them.

    Returns
    -------
    ModelCard
        The card of the model that was written.

    Raises
    ------
    BadInput
        If the model cannot have further members, or the data lack an image that it was trained on; nothing is
        written then.
    Cancelled
        If it was stopped before there was a second member; nothing but a checkpoint is written then.

    Examples
    --------
    >>> from napari_latentseg import train, train_members
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> data = write_annotated_phantoms("phantoms", 4, shape=(64, 64))
    >>> changes = {"epochs": 1, "batch_size": 2, "warmup_epochs": 0, "settings": {"width": 16}}
    >>> changes["preprocess"] = {"mode": "whole", "size": 64}
    >>> card = train(data, "one-member", codec="embedded", changes=changes)
    >>> card = train_members("one-member", data, "three-members", members=3)
    >>> card.members, card.member_parts
    (3, 'predictor')
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.errors import BadInput
    from napari_latentseg.io.result_names import check_case_code
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.store import find_model
    from napari_latentseg.training.output_dir import check_output_dir
    from napari_latentseg.training.processes import join_processes
    from napari_latentseg.utils.device import check_device_and_precision

    if members < 2:
        raise BadInput("members", f"{members} is the model itself", "give 2 or more")
    folder, folders, out = find_model(model), as_paths("data", data), as_path("out", out)
    base_card = read_card(folder)
    check_device_and_precision(device, "auto")
    if name is not None:
        check_case_code(name, "name")
    check_output_dir(out, resume=resume)

    from napari_latentseg.models.store import load_model
    from napari_latentseg.training.first_member import model_config
    from napari_latentseg.training.job import TrainingJob

    changes = {"members": members} | (changes or {})
    if epochs is not None:
        changes["member_training"] = {"epochs": epochs}
    config = model_config(folder, base_card, changes)
    processes = join_processes(device)
    if processes.count > 1:
        raise BadInput("members", "are trained in one process", "run it without a launcher")
    first = load_model(folder, codec)
    job = TrainingJob(
        folders, out, config, first.method.codec, first.card.codec, name=name, device=device,
        should_stop=should_stop, resume=resume, on_progress=on_event, first=first,
    )  # fmt: skip
    for event in job:
        on_event(event)
    return read_card(out)
