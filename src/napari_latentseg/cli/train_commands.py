"""`train`."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_latentseg.cli.console import print_line, progress_bar

if TYPE_CHECKING:
    from napari_latentseg.training.events import TrainEvent

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(train)


def train(
    data: Annotated[list[Path], typer.Option(help="Holds images/ and masks/; may be given several times.")],
    out: Annotated[Path, typer.Option(help="The model folder to be.")],
    method: Annotated[str, typer.Option(help="gms, wave-gms, sdseg, medseglatdiff or guided.")] = "gms",
    config: Annotated[str | None, typer.Option(help="A configuration by name, or a JSON file.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the model; that of the folder where not given.")
    ] = None,
    codec: Annotated[str | None, typer.Option(help="embedded, a folder, or a repository on the hub.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Let the codec be fetched from the hub.")
    ] = False,
    epochs: Annotated[
        int | None, typer.Option(help="Of every stage, in place of the configuration's.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="In place of the configuration's.")] = None,
    seed: Annotated[int | None, typer.Option(help="In place of the configuration's.")] = None,
    members: Annotated[
        int | None,
        typer.Option(help="Predictors to train, each with its own seed; samples can come from them."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was stopped; the rest as it was.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    events: Annotated[bool, typer.Option("--events", help="One JSON object a line, for programs.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Train a model on annotated images. Ctrl+C stops, writes the best so far, and --resume goes on."""
    from napari_latentseg import api
    from napari_latentseg.errors import Cancelled
    from napari_latentseg.training.output_dir import checkpoint_folder

    changes = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "members": members}
    stop_request = {"now": False}
    outcome = {"early": False}

    def ask_to_stop(*_: Any) -> None:
        stop_request["now"] = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous_handlers = {s: signal.signal(s, ask_to_stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        with progress_bar("training", quiet=quiet or events) as progress:

            def report(event: TrainEvent) -> None:
                if events:
                    sys.stdout.write(json.dumps(event.as_dict()) + "\n")
                    sys.stdout.flush()
                elif event.event == "data" and event.note:
                    print_line(event.note, quiet=quiet)
                elif event.event == "epoch":
                    progress(event.epoch / event.epochs)
                    if event.dsc is not None:
                        member = "" if event.member is None else f"member {event.member}, "
                        # the Dice of an autoencoder's stage is that of its own round trip, not of a model
                        stage = f"{event.stage}, " if event.stage else ""
                        line = f"{member}{stage}epoch {event.epoch}: DSC {event.dsc:.4f}"
                        print_line(f"{line} on the images kept apart", quiet=quiet)
                if event.event == "saved":
                    outcome["early"] = event.stopped

            card = api.train(
                data, out, config=config or _default_config(method), method=method, codec=codec, name=name,
                device=device, download=download, resume=resume,
                changes={k: v for k, v in changes.items() if v is not None},
                on_event=report, should_stop=lambda: stop_request["now"],
            )  # fmt: skip
    except Cancelled:
        if checkpoint_folder(out).is_dir():
            print_line(
                "stopped before there was a model; the same command with --resume goes on", quiet=quiet
            )
        raise
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
    if not events:
        # one record for each data set and way of sampling; the first way's are told
        for metric in card.metrics[: max(1, len(card.training_data))]:
            score = f"DSC {metric.values['dsc']:.4f} on {metric.images} images kept apart"
            data_set_text = f" of {metric.data.partition(':')[0]}" if len(card.training_data) > 1 else ""
            print_line(f"{out}: {card.method_title}, {score}{data_set_text}", quiet=quiet)
        if outcome["early"]:
            print_line("stopped before the end; the same command with --resume goes on", quiet=quiet)


def _default_config(method: str) -> str:
    """The small configuration of a method.

    Raises
    ------
    BadInput
        Where there is no such method.
    """
    from napari_latentseg.errors import BadInput
    from napari_latentseg.training.config import load_config, named_configs

    # by the files, since the methods themselves cannot be asked without loading torch
    small = [name.removesuffix("-small") for name in named_configs() if name.endswith("-small")]
    methods = [name for name in small if load_config(f"{name}-small").method == name]
    if method not in methods:
        raise BadInput("method", f"no method {method!r}", f"use one of {', '.join(methods)}")
    return f"{method}-small"
