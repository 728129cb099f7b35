"""`finetune` and `add-replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_latentseg.cli.console import exit_partial, json_text, print_line, progress_bar
from napari_latentseg.cli.interrupt import stop_on_interrupt, stop_on_stdin_line
from napari_latentseg.cli.options import (
    AnnotatedFolders,
    CodecOption,
    Device,
    FormerModelArgument,
    LabelsOption,
    OptionalModel,
    Quiet,
    Resume,
    Threads,
    model_given,
    use_threads,
)
from napari_latentseg.utils.counts import count_text

if TYPE_CHECKING:
    from napari_latentseg.training.events import FineTuneEvent

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(finetune)
    app.command("add-replay")(add_replay)
    app.command("replay", hidden=True)(add_replay)  # its former name


def finetune(
    data: AnnotatedFolders,
    base: FormerModelArgument = None,
    model: OptionalModel = None,
    minutes: Annotated[
        float, typer.Option(help="Time for everything but the comparison with the base.")
    ] = 2.0,
    name: Annotated[
        str | None, typer.Option(help="Name of the new model, if it is kept beside its base.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the new model. Default: with the other models."),
    ] = None,
    labels: LabelsOption = None,
    reader: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="For an image that several readers annotated: use the mask whose file name contains this."
            " Default: the first by name.",
        ),
    ] = None,
    structure: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="For a model that is pointed at (any-structure): name of the structure in the masks. The new"
            " model finds it without being pointed at.",
        ),
    ] = None,
    long_side: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="With --structure: longer side of the image, in pixels, at which the new model works, in"
            " tiles where it is large; 128 for whole images. Default: chosen from the masks.",
        ),
    ] = None,
    codec: CodecOption = None,
    resume: Resume = False,
    device: Device = "auto",
    threads: Threads = None,
    seed: Annotated[
        int, typer.Option(help="Seed for the choice of validation cases and for the augmentation.")
    ] = 0,
    events: Annotated[
        bool,
        typer.Option("--events", help="Print one JSON object per line; a line `stop` on the input stops."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a model on a few corrected images, and compare the new model with its base.

    The base is not changed: the new model waits for `models adopt` or `models discard`. Ctrl+C stops: the
    best weights so far are compared with the base, and --resume continues.
    """
    from napari_latentseg import api

    base_model = model_given(model, base)
    use_threads(threads)
    last_events: dict[str, FineTuneEvent] = {}
    with (
        stop_on_interrupt() as stop_requested,
        progress_bar("fine-tuning", quiet=quiet or events) as progress,
    ):
        if events:
            stop_on_stdin_line(stop_requested)

        def report(event: FineTuneEvent) -> None:
            last_events[event.event] = event
            if events:
                sys.stdout.write(json_text(event.as_dict()) + "\n")
                sys.stdout.flush()
                return
            _print_event(event, quiet)
            if event.event in ("epoch", "progress"):
                text = event.text if event.event == "progress" else ""
                progress(min(1.0, event.seconds / (60 * minutes)), text)

        api.finetune(
            base_model, data, out, minutes=minutes, name=name, codec=codec, device=device, seed=seed,
            labels=labels, reader=reader, structure=structure, long_side=long_side, resume=resume,
            on_event=report,
            on_note=lambda text: print_line(text, quiet=quiet or events),
            should_stop=stop_requested.is_set,
        )  # fmt: skip
    if not events:
        judged, saved_event = last_events["judged"], last_events["saved"]
        assert judged.event == "judged"
        assert saved_event.event == "saved"
        print_line(judged.line, quiet=quiet)
        print_line(f"{saved_event.folder}: use it with `models adopt`, or `models discard` it", quiet=quiet)
        if saved_event.stopped:
            print_line("stopped before the end; the same command with --resume continues", quiet=quiet)
    data_event = last_events["data"]
    assert data_event.event == "data"
    exit_partial(data_event.left_out)


def _print_event(event: FineTuneEvent, quiet: bool) -> None:
    """Print an event that a person wants to see, as one line."""
    if event.event == "data":
        print_line(
            f"{count_text(event.train, 'training case')}, {count_text(event.apart, 'validation case')}"
            + (f"; {event.note}" if event.note else ""),
            quiet=quiet,
        )
    elif event.event == "epoch":
        parts = [f"step {event.step}"]
        if event.dsc is not None:
            parts.append(f"Dice {event.dsc:.3f} (base {event.base_dsc:.3f})")
        if event.replay_dsc is not None:
            parts.append(
                f"on its earlier training data {event.replay_dsc:.3f} (base {event.base_replay_dsc:.3f})"
            )
        print_line(", ".join(parts), quiet=quiet)


def add_replay(
    folder: Annotated[Path, typer.Argument(help="A model folder; its card is changed too.")],
    data: AnnotatedFolders,
    count: Annotated[int, typer.Option(help="Number of patches.", min=4)] = 64,
    codec: CodecOption = None,
) -> None:
    """Store encoded patches of its training images in a model, so that it forgets less when it is fine-tuned.

    Images can be reconstructed from the patches: the licence and the confidentiality of the images hold for
    them too.
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.annotations.annotated_folder import check_annotated_folders
    from napari_latentseg.models.store import locate_model

    locate_model(folder)
    check_annotated_folders(data)

    from napari_latentseg.finetuning.add_replay import add_replay as write_replay

    size = write_replay(folder, data, count=count, codec=codec)
    print_line(f"{folder.name}: {count} patches, {size / 1e6:.1f} MB")
