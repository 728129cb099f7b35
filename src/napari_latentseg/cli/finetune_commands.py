"""`finetune` and `replay`."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_latentseg.cli.console import print_line, progress_bar

if TYPE_CHECKING:
    from napari_latentseg.training.events import FineTuneEvent

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(finetune)
    app.command()(replay)


def finetune(
    base: Annotated[str, typer.Argument(metavar="NAME", help="The model to begin from, or its folder.")],
    data: Annotated[
        list[Path],
        typer.Option(
            help="Holds images/ and masks/, or is an nnU-Net raw data set or a store of annotations; may be"
            " given several times."
        ),
    ],
    minutes: Annotated[float, typer.Option(help="For all but the judging.")] = 2.0,
    name: Annotated[str | None, typer.Option(help="Of the new model, where both are kept.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The new model's folder; among the candidates else.")
    ] = None,
    codec: Annotated[Path | None, typer.Option(help="The folder of the model's codec.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with one that was stopped; the rest as it was.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the split and the variations.")] = 0,
    events: Annotated[
        bool, typer.Option("--events", help="One JSON object a line; a line `stop` on the input stops.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Teach a model from a few corrected images, and judge it beside its base.

    The base is not changed: the new model waits for `models adopt` or `models discard`. Ctrl+C stops, judges
    the best so far, and --resume goes on.
    """
    from napari_latentseg import api

    stop_event = threading.Event()

    def ask_to_stop(*_: Any) -> None:
        stop_event.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous_handlers = {s: signal.signal(s, ask_to_stop) for s in (signal.SIGINT, signal.SIGTERM)}
    if events:  # Windows has no SIGTERM that a program could answer
        threading.Thread(target=_stop_on_stdin_line, args=(stop_event,), daemon=True).start()
    last_events: dict[str, FineTuneEvent] = {}
    try:
        with progress_bar("fine-tuning", quiet=quiet or events) as progress:

            def report(event: FineTuneEvent) -> None:
                last_events[event.event] = event
                if events:
                    sys.stdout.write(json.dumps(event.as_dict()) + "\n")
                    sys.stdout.flush()
                    return
                _print_event(event, quiet)
                if event.event == "epoch":
                    progress(min(1.0, event.seconds / (60 * minutes)))

            api.finetune(
                base, data, out, minutes=minutes, name=name, codec=codec, device=device, seed=seed,
                resume=resume, on_event=report, should_stop=stop_event.is_set,
            )  # fmt: skip
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
    if not events:
        judged, saved_event = last_events["judged"], last_events["saved"]
        assert judged.event == "judged"
        assert saved_event.event == "saved"
        print_line(judged.line, quiet=quiet)
        print_line(f"{saved_event.folder}: use it with `models adopt`, or `models discard` it", quiet=quiet)
        if saved_event.stopped:
            print_line("stopped before the end; the same command with --resume goes on", quiet=quiet)


def _print_event(event: FineTuneEvent, quiet: bool) -> None:
    """An event as a line for people, where it is worth one."""
    if event.event == "data":
        print_line(
            f"{event.train} cases to learn from, {event.apart} kept apart to judge by"
            + (f"; {event.note}" if event.note else ""),
            quiet=quiet,
        )
    elif event.event == "epoch":
        parts = [f"step {event.step}"]
        if event.dsc is not None:
            parts.append(f"Dice {event.dsc:.3f} (base {event.base_dsc:.3f})")
        if event.replay_dsc is not None:
            parts.append(f"on what it knew {event.replay_dsc:.3f} (base {event.base_replay_dsc:.3f})")
        print_line(", ".join(parts), quiet=quiet)


def _stop_on_stdin_line(stop_event: threading.Event) -> None:
    """Wait for a line that asks to stop; an input that ends asks for nothing."""
    try:
        for line in sys.stdin:
            if line.strip() == "stop":
                stop_event.set()
                return
    except (OSError, ValueError):
        return


def replay(
    folder: Annotated[Path, typer.Argument(help="A model folder, whose card is changed too.")],
    data: Annotated[list[Path], typer.Option(help="What it was trained on: images/ and masks/.")],
    count: Annotated[int, typer.Option(help="How many pieces.", min=4)] = 64,
    codec: Annotated[Path | None, typer.Option(help="The folder of the model's codec.")] = None,
) -> None:
    """Give a model pieces of its own training, so that it forgets less when it is fine-tuned.

    An image can be made out again from the pieces: they have its licence, and are as private.
    """
    from napari_latentseg.finetuning.add_replay import add_replay

    size = add_replay(folder, data, count=count, codec=codec)
    print_line(f"{folder.name}: {count} pieces, {size / 1e6:.1f} MB")
