"""`models` and `doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_latentseg.cli.console import print_json, say, table

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
models = typer.Typer(help="The models at hand.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(models, name="models", invoke_without_command=True)
    app.command()(doctor)


@models.callback(invoke_without_command=True)
def _models(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        _list(as_json)


@models.command("list")
def list_models(as_json: Json = False) -> None:
    """All models, a line each."""
    _list(as_json)


def _list(as_json: bool) -> None:
    from napari_latentseg.models.store import list_cards

    cards = list_cards()
    if as_json:
        print_json([card.model_dump(mode="json") for card in cards.values()])
        return
    rows = [("NAME", "WHAT", "METHOD", "DSC", "SAMPLES FROM")]
    for card in cards.values():
        found = card.metrics[0].values.get("dsc") if card.metrics else None
        dsc = "-" if found is None else f"{found:.2f}"
        method = f"{card.method.upper()} variant" if card.variant else card.method.upper()
        rows.append((card.name, card.title, method, dsc, ", ".join(card.sources)))
    table(rows)


@models.command()
def info(name: str, as_json: Json = False) -> None:
    """The card of a model."""
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.store import find_model
    from napari_latentseg.models.text import card_text

    card = read_card(find_model(name))
    if as_json:
        print_json(card.model_dump(mode="json"))
    else:
        say(card_text(card))


def doctor(as_json: Json = False) -> None:
    """Versions, devices, display; what is missing and how to mend it.

    The exit code is 1 where something is missing that the commands need, not where it is only a display.
    """
    from napari_latentseg.doctor import examine

    report = examine()
    if as_json:
        print_json(report)
    else:
        table([(name, str(value)) for name, value in report["facts"].items()])
        for problem in report["problems"]:
            say(f"missing: {problem['what']}; {problem['mend']}")
        if not report["problems"]:
            say("nothing is missing")
    if any("needed" not in problem for problem in report["problems"]):
        raise typer.Exit(1)
