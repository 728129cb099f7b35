"""`codecs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_latentseg.cli.console import print_json, print_line, print_table
from napari_latentseg.cli.options import JsonOutput

if TYPE_CHECKING:
    from napari_latentseg.codecs.store import KeptCodec

__all__ = ["register"]

codecs = typer.Typer(help="The codecs that models need, kept on this machine.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(codecs, name="codecs", invoke_without_command=True)


@codecs.callback(invoke_without_command=True)
def _codecs(context: typer.Context, as_json: JsonOutput = False) -> None:
    if context.invoked_subcommand is None:
        _list(as_json)


@codecs.command("list")
def list_codecs(as_json: JsonOutput = False) -> None:
    """All kept codecs, a line each, with the models that need them."""
    _list(as_json)


def _list(as_json: bool) -> None:
    from napari_latentseg import api
    from napari_latentseg.codecs.store import short_hash, size_text
    from napari_latentseg.models.codec_use import models_by_codec

    kept_codecs, models = api.list_codecs(), models_by_codec()
    if as_json:
        print_json([_codec_json(codec, models.get(codec.sha256, [])) for codec in kept_codecs])
        return
    if not kept_codecs:
        print_line("no codec is kept; `codecs add` keeps one")
        return
    rows = [("NAME", "SHA-256", "KIND", "SIZE", "KEPT AS", "NEEDED BY")]
    for codec in kept_codecs:
        storage = codec.storage if codec.is_present else f"{codec.storage}, missing"
        needed_by = ", ".join(models.get(codec.sha256, [])) or "-"
        size = size_text(codec.size_bytes)
        rows.append((codec.name, short_hash(codec.sha256), codec.kind, size, storage, needed_by))
    print_table(rows)


def _codec_json(codec: KeptCodec, models: list[str]) -> dict[str, Any]:
    record = codec.model_dump(mode="json", exclude={"format", "file"})
    return record | {"path": str(codec.path), "present": codec.is_present, "models": models}


@codecs.command()
def add(
    source: Annotated[
        str, typer.Argument(help="A folder or file of an autoencoder, or a Hugging Face repository.")
    ],
    name: Annotated[str | None, typer.Option(help="Its name. Default: that of the folder or file.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a repository.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Allow a repository to be downloaded from the hub.")
    ] = False,
    pointer: Annotated[
        bool,
        typer.Option("--pointer", help="Keep only its path and its hash; it must then stay there."),
    ] = False,
    as_json: JsonOutput = False,
) -> None:
    """Keep a codec, so that every model that needs it finds it, from any folder."""
    from napari_latentseg import api
    from napari_latentseg.codecs.store import short_hash
    from napari_latentseg.models.codec_use import models_by_codec

    codec = api.add_codec(source, name, revision=revision, download=download, pointer=pointer)
    models = models_by_codec().get(codec.sha256, [])
    if as_json:
        print_json(_codec_json(codec, models))
        return
    print_line(codec.describe())
    needed_by = f"needed by {', '.join(models)}" if models else "needed by no model here"
    print_line(f"SHA-256 {short_hash(codec.sha256)}, {needed_by}")


@codecs.command()
def remove(
    codec: Annotated[str, typer.Argument(help="Its name, or six or more digits of its SHA-256.")],
    force: Annotated[
        bool, typer.Option("--force", help="Remove it although models on this machine need it.")
    ] = False,
    as_json: JsonOutput = False,
) -> None:
    """Remove a kept codec; the folder or file that it was added from stays."""
    from napari_latentseg import api
    from napari_latentseg.models.codec_use import models_by_codec

    removed = api.remove_codec(codec, force=force)
    models = models_by_codec().get(removed.sha256, [])
    if as_json:
        print_json(_codec_json(removed, models))
        return
    print_line(f"codec {removed.name}: removed")
    if models:
        print_line(f"these models will not run without it: {', '.join(models)}")
