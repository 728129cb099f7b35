"""`annotations`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_latentseg.cli.console import print_json, say, table

if TYPE_CHECKING:
    from napari_latentseg.annotations import AnnotationStore

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Store = Annotated[
    str | None,
    typer.Option(help="The name of the model they are for, or a folder; needed where there are several."),
]
group = typer.Typer(
    help="What was approved: list it, hold it against its hashes, export it.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="annotations")


@group.command("list")
def list_annotations(store: Store = None, as_json: Json = False) -> None:
    """Every approval that counts, a line each; slices are counted from 1."""
    found = {name: _opened(folder) for name, folder in _chosen(store).items()}
    if as_json:
        print_json([_described(name, one) for name, one in found.items()])
        return
    rows = [("FOR", "NUMBER", "IMAGE", "SLICES", "FROM", "EDITED", "TIME")]
    for name, one in found.items():
        for entry in one.entries():
            version = f"{entry.model.name} {entry.model.version}" if entry.model else "-"
            rows.append(
                (name, str(entry.id), entry.case, _slices(entry.planes), version,
                 "yes" if entry.edited else "no", entry.time)
            )  # fmt: skip
    if len(rows) == 1:
        say("nothing is approved yet")
        return
    table(rows)
    for name, one in found.items():
        for draft in one.drafts():
            state = "is being worked on" if draft.in_use else "was left when a window ended"
            say(f"{name}: {draft.case} {state}, last saved {draft.time}")


def _described(name: str, store: AnnotationStore) -> dict[str, Any]:
    planes, scans = store.counts()
    return {
        "name": name,
        "slices": planes,
        "images": scans,
        "classes": [c.model_dump(mode="json") for c in store.classes],
        "cases": [
            {"name": c.name, "sha256": c.key, "axes": c.axes, "shape": list(c.shape),
             "modality": c.modality, "spacing": list(c.geometry.spacing), "units": list(c.geometry.units),
             "planes": list(c.planes)}
            for c in store.cases()
        ],
        "approvals": [
            {"number": e.id, "case": e.case, "planes": list(e.planes),
             "model": e.model._asdict() if e.model else None, "edited": e.edited, "time": e.time,
             "revoked": e.revoked}
            for e in store.entries(revoked=True)
        ],
        "drafts": [
            {"case": d.case, "model": d.model._asdict() if d.model else None, "time": d.time,
             "in_use": d.in_use}
            for d in store.drafts()
        ],
        "notes": list(store.notes),
    }  # fmt: skip


@group.command()
def verify(store: Store = None, as_json: Json = False) -> None:
    """Hold every file against its hash. The exit code is 1 where something approved is missing or damaged."""
    told: list[dict[str, Any]] = []
    for name, folder in _chosen(store).items():
        one = _opened(folder)
        found = one.verify()
        told.append(
            {"name": name, "notes": list(one.notes),
             "findings": [{"file": f.file, "what": f.what, "serious": f.serious} for f in found]}
        )  # fmt: skip
        if not as_json:
            for note in one.notes:
                say(f"{name}: {note}")
            for finding in found:
                say(f"{name}: {finding.file}: {finding.what}")
            if not any(finding.serious for finding in found):
                planes, scans = one.counts()
                say(f"{name}: {planes} slices of {scans} images are there, and are what was approved")
    if as_json:
        print_json(told)
    if any(finding["serious"] for one_told in told for finding in one_told["findings"]):
        raise typer.Exit(1)


@group.command()
def export(
    folder: Annotated[Path, typer.Argument(help="To be; nnU-Net wants a name like Dataset001_Vessels.")],
    store: Store = None,
) -> None:
    """Write a plain copy as a raw data set of nnU-Net."""
    from napari_latentseg.errors import BadInput

    found = _chosen(store)
    if len(found) != 1:
        raise BadInput(
            "annotations",
            f"there are those for {', '.join(found)}" if found else "nothing is approved yet",
            "choose with --store NAME" if found else "approve at least one slice",
        )
    (place,) = found.values()
    say(str(_opened(place).export_nnunet(folder)))


def _chosen(store: str | None) -> dict[str, Path]:
    """The stores that are meant: all, or the one of a name or folder.

    Raises
    ------
    BadInput
        Where there is none of that name.
    """
    from napari_latentseg.annotations import stores
    from napari_latentseg.errors import BadInput

    found = stores()
    if store is None:
        return found
    if store in found:
        return {store: found[store]}
    folder = Path(store)
    if (folder / "journal.jsonl").is_file():
        return {folder.resolve().name: folder}
    raise BadInput(
        "store",
        f"there are no annotations for {store!r}",
        f"use one of {', '.join(found)}, or a folder" if found else "approve something first",
    )


def _opened(folder: Path) -> AnnotationStore:
    from napari_latentseg.annotations import AnnotationStore

    return AnnotationStore(folder)


def _slices(planes: tuple[int, ...]) -> str:
    from napari_latentseg.annotations.records import ranges

    return ",".join(str(a + 1) if a == b else f"{a + 1}-{b + 1}" for a, b in ranges(planes))
