"""`models`, `methods` and `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_latentseg.cli.console import print_json, print_line, print_table
from napari_latentseg.cli.json_records import version_json
from napari_latentseg.cli.options import (
    CodecOption,
    JsonOutput,
    ModelName,
    Overwrite,
    Quiet,
    Threads,
    use_threads,
)
from napari_latentseg.cli.segment_options import Precision
from napari_latentseg.errors import BadInput

__all__ = ["register"]

models = typer.Typer(help="The models on this machine.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(models, name="models", invoke_without_command=True)
    app.command()(methods)
    app.command()(doctor)


@models.callback(invoke_without_command=True)
def _models(context: typer.Context, as_json: JsonOutput = False) -> None:
    if context.invoked_subcommand is None:
        _list(as_json)


@models.command("list")
def list_models(as_json: JsonOutput = False) -> None:
    """All models, a line each."""
    _list(as_json)


def _list(as_json: bool) -> None:
    from napari_latentseg import api

    cards = api.list_models()
    if as_json:
        print_json([card.model_dump(mode="json") for card in cards.values()])
        return
    from napari_latentseg.models.card_text import dice_text

    rows = [("NAME", "WHAT", "METHOD", "DICE", "SAMPLES FROM")]
    for card in cards.values():
        dice = dice_text(card, label="") or "-"
        method = f"{card.method_name} variant" if card.deviations_from_paper else card.method_name
        rows.append((card.name, card.title, method, dice, ", ".join(card.sources)))
    print_table(rows)


@models.command()
def info(name: ModelName, as_json: JsonOutput = False) -> None:
    """The card of a model."""
    from napari_latentseg import api
    from napari_latentseg.models.card_text import card_text
    from napari_latentseg.models.training_log import read_training_log

    model = api.locate_model(name)
    if as_json:
        print_json(model.card.model_dump(mode="json"))
    else:
        print_line(card_text(model.card, read_training_log(model.folder)))


@models.command(name="compile")
def compile_(
    name: ModelName,
    precision: Precision = "auto",
    threads: Threads = None,
    codec: CodecOption = None,
    quiet: Quiet = False,
) -> None:
    """Compile a model for this machine's processor now, so that no run has to do it."""
    from napari_latentseg import api

    use_threads(threads)
    refusal = api.compile_model(name, precision=precision, codec=codec)
    if refusal:
        raise BadInput(f"model {name!r}", f"OpenVINO refuses it ({refusal})", "torch computes it")
    print_line(f"{name} is compiled", quiet=quiet)


@models.command()
def install(
    source: Annotated[
        Path, typer.Argument(help="A model folder, an exported zip file, or a .pth checkpoint of GMS.")
    ],
    name: Annotated[str | None, typer.Option(help="Name of the model, in place of its own.")] = None,
    codec: CodecOption = None,
    config: Annotated[str, typer.Option(help="Configuration that a checkpoint belongs to.")] = "gms-busi",
    download: Annotated[
        bool, typer.Option("--download", help="Allow a checkpoint's codec to be downloaded from the hub.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--overwrite", "--replace", help="Replace an installed model.")
    ] = False,
    as_version: Annotated[
        bool,
        typer.Option(
            "--as-version", help="Install it as a version of the model here that it was fine-tuned from."
        ),
    ] = False,
) -> None:
    """Install a model, so that it can be used by its name."""
    from napari_latentseg import api

    if not (name or replace or as_version):
        plan = api.plan_install(source)
        if plan.is_taken and plan.parent:
            why = f"a model {plan.name!r} exists already"
            remedy = (
                f"add --as-version to install it as version {plan.parent_version} of {plan.parent},"
                " give another with --name, or add --overwrite"
            )
            raise BadInput("name", why, remedy)
    card = api.install_model(
        source, name=name, codec=codec, config=config, download=download, replace=replace,
        as_version=as_version, on_note=print_line,
    )  # fmt: skip
    version_text = f" version {card.version}," if as_version else ""
    print_line(f"{card.name}:{version_text} {card.title}, {card.method_title}")


@models.command()
def remove(
    name: ModelName,
    version: Annotated[str | None, typer.Option(help="The version to remove. Default: all of them.")] = None,
) -> None:
    """Remove an installed model and all its versions, or one version; embedded models stay."""
    from napari_latentseg import api

    api.remove_model(name, version)
    print_line(f"{name}: removed" if version is None else f"{name}: version {version} removed")


@models.command()
def history(name: ModelName, as_json: JsonOutput = False) -> None:
    """The versions of a model, the oldest first."""
    from napari_latentseg import api

    versions = api.model_history(name)
    if as_json:
        print_json([version_json(version) for version in versions])
        return
    rows = [("VERSION", "", "FROM", "DICE", "COMPARED WITH ITS BASE")]
    for version in versions:
        dice = version.dice.removeprefix("Dice ") or "-"
        origin = version.parent or _ORIGIN[version.origin]
        rows.append(
            (version.version, "in use" if version.is_current else "", origin, dice, version.comparison)
        )
    print_table(rows)


_ORIGIN = {"package": "embedded", "installed": "installed", "taught": "fine-tuned here"}


@models.command()
def candidates(as_json: JsonOutput = False) -> None:
    """The fine-tuned models that are neither adopted nor discarded yet, and fine-tunings to resume."""
    import shlex

    from napari_latentseg import api
    from napari_latentseg.finetuning.interrupted import list_interrupted
    from napari_latentseg.models.versions import comparison_line

    candidate_folders = api.list_candidates()
    if as_json:
        print_json({name: str(folder) for name, folder in candidate_folders.items()})
        return
    interrupted = list_interrupted()
    if not candidate_folders:
        print_line("no fine-tuned model waits to be adopted or discarded")
    else:
        rows = [("NAME", "FROM", "COMPARED WITH ITS BASE")]
        for name, folder in candidate_folders.items():
            rows.append((name, api.locate_model(folder).card.parent, comparison_line(folder)))
        print_table(rows)
    for entry in interrupted:
        print_line(f"{entry.name}: interrupted; `models discard {entry.name}` removes it, this resumes it:")
        print_line(f"  napari-latentseg {shlex.join(entry.command_line())}")


@models.command()
def adopt(
    candidate: Annotated[str, typer.Argument(help="Name or folder of a fine-tuned model.")],
    keep_both: Annotated[
        bool, typer.Option("--keep-both", help="Install it as a model of its own, beside its base.")
    ] = False,
) -> None:
    """Use a fine-tuned model, as the next version of its base."""
    from napari_latentseg import api

    card = api.adopt_model(candidate, keep_both=keep_both)
    print_line(f"{card.name}: version {card.version} is in use")


@models.command()
def revert(
    name: ModelName,
    version: Annotated[
        str | None,
        typer.Option(help="Version to use. Default: the one that the current was fine-tuned from."),
    ] = None,
) -> None:
    """Return to an earlier version of a model; none is removed."""
    from napari_latentseg import api

    card = api.revert_model(name, version)
    print_line(f"{name}: version {card.version} is in use")


@models.command()
def discard(
    candidate: Annotated[str, typer.Argument(help="Name or folder of a fine-tuned model.")],
) -> None:
    """Remove a fine-tuned model that was not adopted."""
    from napari_latentseg import api

    api.discard_model(candidate)
    print_line(f"{candidate}: removed")


@models.command()
def export(
    name: ModelName,
    path: Annotated[Path, typer.Argument(metavar="FILE.zip", help="Where to write it.")],
    with_replay: Annotated[
        bool,
        typer.Option(
            "--with-replay", help="Include the encoded patches of its training images, if it has any."
        ),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a model as one zip file, for `models install` on another machine."""
    from napari_latentseg import api
    from napari_latentseg.models.layout import REPLAY_FILE

    model = api.locate_model(name)
    api.export_model(model, path, replay=with_replay, overwrite=overwrite)
    print_line(f"{path}: {name}")
    if with_replay and REPLAY_FILE in model.card.files:
        print_line("it holds encoded patches of its training images, which can be reconstructed from them")


def methods(as_json: JsonOutput = False) -> None:
    """Every method: its paper, configurations, number of parameters, and sampling sources."""
    from napari_latentseg import api

    method_list = api.list_methods()
    if as_json:
        print_json([method.model_dump(mode="json") for method in method_list])
        return
    for method in method_list:
        parameters = method.parameters
        configs = [
            f"{c.name} ({'variant' if c.kind == 'other' and c.variant else c.kind})"
            for c in method.configurations
            if not c.ablation
        ]
        rows = [("paper", method.paper), ("configurations", ", ".join(configs) or "none")]
        for group, counts in (("trainable", parameters.trainable), ("frozen", parameters.frozen)):
            if counts:
                rows.append((group, _format_counts(counts)))
        rows.append(("counted at", parameters.configuration or "the method's own defaults"))
        rows.append(("samples from", ", ".join(method.sources)))
        rows += [("ablation", f"{c.name} ({c.ablation})") for c in method.configurations if c.ablation]
        if parameters.variant:
            rows.append(("differs", f"{parameters.configuration} from the paper: {parameters.variant}"))
        print_line(f"{method.name}: {method.title}")
        print_table([(f"  {head}", text) for head, text in rows])


def _format_counts(counts: dict[str, int]) -> str:
    details = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"{sum(counts.values()):,} ({details})"


def doctor(as_json: JsonOutput = False) -> None:
    """Versions, devices and display of this machine; what is missing, and how to install it.

    The exit code is 1 where something is missing that the commands need; a missing display does not count.
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
