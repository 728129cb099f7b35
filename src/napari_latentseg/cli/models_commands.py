"""`models`, `methods` and `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_latentseg.cli.console import print_json, print_line, print_table

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
models = typer.Typer(help="The models at hand.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(models, name="models", invoke_without_command=True)
    app.command()(methods)
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
        dsc_value = card.headline_metrics.values.get("dsc") if card.headline_metrics else None
        dsc = "-" if dsc_value is None else f"{dsc_value:.2f}"
        method = f"{card.method_name} variant" if card.deviations_from_paper else card.method_name
        rows.append((card.name, card.title, method, dsc, ", ".join(card.sources)))
    print_table(rows)


@models.command()
def info(name: str, as_json: Json = False) -> None:
    """The card of a model."""
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.card_text import card_text
    from napari_latentseg.models.store import find_model

    card = read_card(find_model(name))
    if as_json:
        print_json(card.model_dump(mode="json"))
    else:
        print_line(card_text(card))


@models.command()
def install(
    source: Annotated[
        Path, typer.Argument(help="A model folder, a zip that was exported, or a .pth checkpoint of GMS.")
    ],
    name: Annotated[str | None, typer.Option(help="Of the model, in place of its own.")] = None,
    codec: Annotated[
        str | None, typer.Option(help="The folder of its codec; of a checkpoint also a hub repository.")
    ] = None,
    config: Annotated[str, typer.Option(help="The configuration a checkpoint came from.")] = "gms-busi",
    download: Annotated[
        bool, typer.Option("--download", help="Let a checkpoint's codec be fetched from the hub.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an installed model.")] = False,
) -> None:
    """Install a model, so that it can be called by its name."""
    from napari_latentseg import api

    card = api.install_model(
        source, name=name, codec=codec, config=config, download=download, replace=replace
    )
    print_line(f"{card.name}: {card.title}, {card.method_title}")


@models.command()
def remove(name: str) -> None:
    """Remove an installed model and all its versions; those that came with the package stay."""
    from napari_latentseg import api

    api.remove_model(name)
    print_line(f"{name}: removed")


@models.command()
def history(name: str, as_json: Json = False) -> None:
    """The versions of a model, the oldest first."""
    from napari_latentseg import api

    versions = api.model_history(name)
    if as_json:
        print_json([vars(version) | {"folder": str(version.folder)} for version in versions])
        return
    rows = [("VERSION", "", "FROM", "DSC", "COMPARED WITH ITS BASE")]
    for version in versions:
        dsc = "-" if version.dsc is None else f"{version.dsc:.2f}"
        origin = version.parent or _ORIGIN[version.origin]
        rows.append(
            (version.version, "in use" if version.is_current else "", origin, dsc, version.comparison)
        )
    print_table(rows)


_ORIGIN = {"package": "came with the package", "installed": "installed", "taught": "taught here"}


@models.command()
def candidates(as_json: Json = False) -> None:
    """The models that were taught and wait for a decision."""
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.versions import comparison_line
    from napari_latentseg.models.versions import list_candidates as waiting

    candidate_folders = waiting()
    if as_json:
        print_json({name: str(folder) for name, folder in candidate_folders.items()})
        return
    rows = [("NAME", "FROM", "COMPARED WITH ITS BASE")]
    print_table(
        [*rows, *((n, read_card(f).parent, comparison_line(f)) for n, f in candidate_folders.items())]
    )


@models.command()
def adopt(
    candidate: Annotated[str, typer.Argument(help="A model that was taught: its name or its folder.")],
    keep_both: Annotated[
        bool, typer.Option("--keep-both", help="As a model of its own, beside its base.")
    ] = False,
) -> None:
    """Use a model that was taught, as the next version of its base."""
    from napari_latentseg import api

    card = api.adopt_model(candidate, keep_both=keep_both)
    print_line(f"{card.name}: version {card.version} is in use")


@models.command()
def revert(
    name: str,
    version: Annotated[
        str | None, typer.Option(help="Which; the one that the current was taught from where not given.")
    ] = None,
) -> None:
    """Go back to another version of a model; none is removed."""
    from napari_latentseg import api

    card = api.revert_model(name, version)
    print_line(f"{name}: version {card.version} is in use")


@models.command()
def discard(
    candidate: Annotated[str, typer.Argument(help="A model that was taught, and is not wanted.")],
) -> None:
    """Remove a model that was taught and waits for a decision."""
    from napari_latentseg import api

    api.discard_model(candidate)
    print_line(f"{candidate}: removed")


@models.command()
def export(
    name: str,
    path: Annotated[Path, typer.Argument(metavar="FILE.zip", help="Where to write it.")],
    with_replay: Annotated[
        bool,
        typer.Option(
            "--with-replay", help="Also the encoded pieces of its training images, against forgetting."
        ),
    ] = False,
) -> None:
    """Write a model as one file, for `models install` on another machine."""
    from napari_latentseg import api
    from napari_latentseg.models.card import read_card
    from napari_latentseg.models.layout import REPLAY_FILE
    from napari_latentseg.models.store import find_model

    api.export_model(name, path, replay=with_replay)
    print_line(f"{path}: {name}")
    if with_replay and REPLAY_FILE in read_card(find_model(name)).files:
        print_line("it holds encoded pieces of its training images, which can be made out again from them")


def methods(as_json: Json = False) -> None:
    """Every method: its paper, configurations, parameters, and where its samples come from."""
    from napari_latentseg import api

    method_list = api.list_methods()
    if as_json:
        print_json(method_list)
        return
    for method in method_list:
        parameters = method["parameters"]
        configs = [f"{c['name']} ({c['kind']})" for c in method["configurations"]]
        rows = [("paper", method["paper"]), ("configurations", ", ".join(configs) or "none")]
        rows += [
            (parameter_group, _format_counts(parameters[parameter_group]))
            for parameter_group in ("trainable", "frozen")
            if parameters[parameter_group]
        ]
        rows += [("counted at", parameters["configuration"] or "the method's own defaults")]
        rows += [("samples from", ", ".join(method["sources"]))]
        print_line(f"{method['name']}: {method['title']}")
        print_table([(f"  {head}", text) for head, text in rows])


def _format_counts(counts: dict[str, int]) -> str:
    details = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"{sum(counts.values()):,} ({details})"


def doctor(as_json: Json = False) -> None:
    """Versions, devices, display; what is missing and how to mend it.

    The exit code is 1 where something is missing that the commands need, not where it is only a display.
    """
    from napari_latentseg.doctor import diagnose

    report = diagnose()
    if as_json:
        print_json(report)
    else:
        print_table([(name, str(value)) for name, value in report["facts"].items()])
        for problem in report["problems"]:
            print_line(f"missing: {problem['what']}; {problem['mend']}")
        if not report["problems"]:
            print_line("nothing is missing")
    if any("needed" not in problem for problem in report["problems"]):
        raise typer.Exit(1)
