"""`train`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from napari_latentseg.cli.console import exit_partial, print_line, progress_bar
from napari_latentseg.cli.interrupt import stop_on_interrupt
from napari_latentseg.cli.options import (
    AnnotatedFolders,
    Device,
    LabelsOption,
    Quiet,
    ReaderFolders,
    Resume,
    SplitOption,
    Threads,
    use_threads,
)
from napari_latentseg.cli.train_lines import TrainReport, print_trained

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(train)


def train(
    data: AnnotatedFolders,
    out: Annotated[Path, typer.Option("--out", "-o", help="The model folder to write.")],
    method: Annotated[str, typer.Option(help="gms, wave-gms, sdseg, medseglatdiff or guided.")] = "gms",
    config: Annotated[
        str | None,
        typer.Option(help="Name of a configuration, or a JSON file. Default: the small one of the method."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model. Default: that of the folder.")] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            help="embedded, a folder or file, a kept codec, or a repository on the Hugging Face hub."
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Allow the codec to be downloaded from the hub.")
    ] = False,
    begin_from: Annotated[
        str | None,
        typer.Option(
            help="A model of the same method, settings and codec, from whose weights the training starts."
        ),
    ] = None,
    pretrained_unet: Annotated[
        Path | None,
        typer.Option(
            help="For sdseg: a checkpoint of latent diffusion, from whose U-Net the training starts, such as"
            " lsun_churches256/model.ckpt."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of every stage, in place of the configuration's.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Batch size, in place of the configuration's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, in place of the configuration's.")] = None,
    members: Annotated[
        int | None,
        typer.Option(
            help="Train this many members, each with a seed of its own; samples can come from them."
        ),
    ] = None,
    member_parts: Annotated[
        str | None,
        typer.Option(
            help="What each further member has of its own: all, or the predictor on the first's conditioner."
        ),
    ] = None,
    member_epochs: Annotated[
        int | None,
        typer.Option(help="Epochs of each further predictor. Default: a third of those of the first member."),
    ] = None,
    members_of: Annotated[
        str | None,
        typer.Option(
            help="A model that is the first member, with its configuration and split; only the predictors of"
            " the others are trained. --data must be what it was trained on."
        ),
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(
            help="Number of batches whose gradients are added up for one step, in place of the"
            " configuration's.",
        ),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="The classes of the labels 1, 2, ... of the masks: NAME,NAME.")
    ] = None,
    labels: LabelsOption = None,
    readers: ReaderFolders = None,
    split: SplitOption = None,
    select_on: Annotated[
        str | None,
        typer.Option(
            help="validation, or test: select the weights on the test list of --split, as several papers did."
        ),
    ] = None,
    perceptual: Annotated[
        list[Path] | None,
        typer.Option(
            help="Files of VGG16 (torchvision) and LPIPS, for the perceptual term of guided; give both."
        ),
    ] = None,
    class_texts: Annotated[
        Path | None,
        typer.Option(
            help="A file of text vectors, one for each class; guided uses them as embeddings of the classes."
        ),
    ] = None,
    resume: Resume = False,
    device: Device = "auto",
    threads: Threads = None,
    events: Annotated[bool, typer.Option("--events", help="Print one JSON object per line.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on annotated images. Ctrl+C stops and writes the best weights; --resume continues."""
    from napari_latentseg import api
    from napari_latentseg.data.readers import parse_readers
    from napari_latentseg.errors import BadInput, Cancelled
    from napari_latentseg.training.launch import check_threads
    from napari_latentseg.training.output_dir import checkpoint_folder
    from napari_latentseg.utils.launcher import is_main_process

    check_threads(threads)
    use_threads(threads)
    if begin_from is not None and not begin_from.strip():
        raise BadInput("begin_from", "is empty", "give the name or the folder of a model")
    quiet = quiet or not is_main_process()
    changes: dict[str, object] = {
        "epochs": epochs, "batch_size": batch_size, "seed": seed, "members": members,
        "member_parts": member_parts, "accumulate": accumulate, "begin_from": begin_from,
        "member_training": None if member_epochs is None else {"epochs": member_epochs},
        "pretrained_unet": None if pretrained_unet is None else str(pretrained_unet),
    }  # fmt: skip
    if members_of is not None:
        of_the_model = {
            "--method": None if method == "gms" else method,  # the default, which may not have been given
            "--config": config, "--epochs": epochs, "--member-parts": member_parts, "--classes": classes,
            "--labels": labels, "--readers": readers, "--split": split or None, "--select-on": select_on,
            "--pretrained-unet": pretrained_unet, "--begin-from": begin_from,
            "--perceptual": perceptual or None, "--class-texts": class_texts,
        }  # fmt: skip
        _check_left_to_model(of_the_model)
    if readers is not None:
        changes |= {"readers": "random", "reader_masks": parse_readers(readers)}
    given = {field: value for field, value in changes.items() if value is not None}
    try:
        with (
            stop_on_interrupt() as stop_requested,
            progress_bar("training", quiet=quiet or events) as progress,
        ):
            report = TrainReport(progress, as_json=events, quiet=quiet)
            if members_of is not None:
                card = api.train_members(
                    members_of, data, out, members=3 if members is None else members, name=name,
                    device=device, codec=codec, resume=resume, changes=given, on_event=report,
                    should_stop=stop_requested.is_set,
                )  # fmt: skip
            else:
                card = api.train(
                    data, out, config=_default_config(method) if config is None else config,
                    method=method, codec=codec, name=name, device=device, download=download, resume=resume,
                    changes=given,
                    classes=None if classes is None else classes.split(","), labels=labels,
                    split=split or None, select_on=select_on, perceptual=perceptual or (),
                    class_texts=class_texts, on_event=report,
                    on_note=lambda text: print_line(text, quiet=quiet or events),
                    should_stop=stop_requested.is_set,
                )  # fmt: skip
    except Cancelled:
        if checkpoint_folder(out).is_dir():
            text = "stopped before there was a model; the same command with --resume continues"
            print_line(text, quiet=quiet)
        raise
    if not events and is_main_process():
        print_trained(card, out, stopped_early=report.stopped_early, quiet=quiet)
    if events or is_main_process():
        exit_partial(report.left_out)


def _check_left_to_model(options: Mapping[str, object]) -> None:
    """Refuse what --members-of takes from the model.

    Raises
    ------
    BadInput
        If one of the options was given.
    """
    from napari_latentseg.errors import BadInput

    for name, value in options.items():
        if value is not None:
            remedy = "give --member-epochs" if name == "--epochs" else "leave it out"
            raise BadInput(name, "is that of the model with --members-of", remedy)


def _default_config(method: str) -> str:
    """The name of the small configuration of a method.

    Raises
    ------
    BadInput
        If there is no such method.
    """
    from napari_latentseg.errors import BadInput, choose_from
    from napari_latentseg.training.config_files import load_config, named_configs

    # from the names of the files: importing the methods would load torch
    small = [name.removesuffix("-small") for name in named_configs() if name.endswith("-small")]
    methods = [name for name in small if load_config(f"{name}-small").method == name]
    if method not in methods:
        raise BadInput("method", f"no method {method!r}", choose_from(method, methods))
    return f"{method}-small"
