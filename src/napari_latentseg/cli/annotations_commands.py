"""`annotations`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_latentseg.cli.console import print_json, print_line, print_table
from napari_latentseg.cli.options import JsonOutput
from napari_latentseg.utils.counts import count_text

if TYPE_CHECKING:
    from napari_latentseg.annotations import AnnotationStore

__all__ = ["register"]

Store = Annotated[
    str | None,
    typer.Option(help="Name of the model they belong to, or a folder. Default: all."),
]
group = typer.Typer(
    help="Approved annotations: list, verify and export them.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="annotations")


@group.command("list")
def list_annotations(store: Store = None, as_json: JsonOutput = False) -> None:
    """List the approvals that are in force; slices are counted from 1."""
    opened_stores = {store_name: _open_store(folder) for store_name, folder in _select_stores(store).items()}
    if as_json:
        print_json(
            [
                _store_json(store_name, annotation_store)
                for store_name, annotation_store in opened_stores.items()
            ]
        )
        return
    rows = [("FOR", "NUMBER", "IMAGE", "SLICES", "FROM", "EDITED", "READER", "TIME")]
    for name, annotation_store in opened_stores.items():
        for entry in annotation_store.approvals():
            version = f"{entry.model.name} {entry.model.version}" if entry.model else "-"
            rows.append(
                (name, str(entry.id), entry.case, _slice_ranges(entry.planes), version,
                 "yes" if entry.edited else "no", entry.reader or "-", entry.time)
            )  # fmt: skip
    for name, annotation_store in opened_stores.items():
        for note in annotation_store.notes:
            print_line(f"{name}: {note}")
    if len(rows) == 1:
        print_line("nothing is approved yet")
        return
    print_table(rows)
    for name, annotation_store in opened_stores.items():
        for draft in annotation_store.drafts():
            state = "is open in a window" if draft.in_use else "has an unfinished draft"
            print_line(f"{name}: {draft.case} {state}, last saved {draft.time}")


def _store_json(name: str, store: AnnotationStore) -> dict[str, Any]:
    planes, scans = store.count_approved()
    approved = {case.name: case.annotated_slices or () for case in store.cases()}
    return {
        "name": name,
        "slices": planes,
        "images": scans,
        "classes": [c.model_dump(mode="json") for c in store.classes],
        "cases": [
            {"name": r.name, "sha256": r.pixels, "axes": r.axes, "shape": list(r.shape),
             "modality": r.modality, "spacing": list(r.place.geometry.spacing),
             "units": list(r.place.geometry.units), "planes": list(approved.get(r.name, ()))}
            for r in store.case_records()
        ],
        "approvals": [
            {"number": e.id, "case": e.case, "planes": list(e.planes),
             "model": e.model._asdict() if e.model else None, "edited": e.edited, "reader": e.reader,
             "time": e.time,
             "revoked": e.revoked}
            for e in store.approvals(revoked=True)
        ],
        "drafts": [
            {"case": d.case, "model": d.model._asdict() if d.model else None, "time": d.time,
             "in_use": d.in_use}
            for d in store.drafts()
        ],
        "notes": list(store.notes),
    }  # fmt: skip


@group.command()
def verify(store: Store = None, as_json: JsonOutput = False) -> None:
    """Check every file against its SHA-256. The exit code is 1 where an approved slice is damaged."""
    reports: list[dict[str, Any]] = []
    for name, folder in _select_stores(store).items():
        annotation_store = _open_store(folder)
        findings = annotation_store.verify()
        reports.append(
            {"name": name, "notes": list(annotation_store.notes),
             "findings": [{"file": f.file, "what": f.description, "serious": f.is_serious} for f in findings]}
        )  # fmt: skip
        if not as_json:
            for note in annotation_store.notes:
                print_line(f"{name}: {note}")
            for finding in findings:
                print_line(f"{name}: {finding.file}: {finding.description}")
            if not any(finding.is_serious for finding in findings):
                planes, scans = annotation_store.count_approved()
                of_images = f"of {count_text(scans, 'image')}"
                print_line(f"{name}: {count_text(planes, 'slice')} {of_images} unchanged since approval")
    if as_json:
        print_json(reports)
    elif not reports:
        print_line("nothing is approved yet")
    if any(finding["serious"] for store_report in reports for finding in store_report["findings"]):
        raise typer.Exit(1)


@group.command()
def export(
    folder: Annotated[
        Path, typer.Argument(help="Folder to write; nnU-Net expects a name like Dataset001_Vessels.")
    ],
    store: Store = None,
) -> None:
    """Write the approved annotations as an nnU-Net raw data set."""
    from napari_latentseg.errors import BadInput

    selected_stores = _select_stores(store)
    if len(selected_stores) != 1:
        raise BadInput(
            "annotations",
            f"there are those for {', '.join(selected_stores)}"
            if selected_stores
            else "nothing is approved yet",
            "choose with --store NAME" if selected_stores else "approve at least one slice",
        )
    (store_folder,) = selected_stores.values()
    print_line(str(_open_store(store_folder).export_nnunet(folder)))


def _select_stores(store: str | None) -> dict[str, Path]:
    """All annotation stores by name, or the one of a name or folder.

    Raises
    ------
    BadInput
        If there is none of that name.
    """
    from napari_latentseg.annotations import is_store, list_stores
    from napari_latentseg.errors import BadInput

    all_stores = list_stores()
    if store is None:
        return all_stores
    if store in all_stores:
        return {store: all_stores[store]}
    folder = Path(store)
    if is_store(folder):
        return {folder.resolve().name: folder}
    raise BadInput(
        "store",
        f"there are no annotations for {store!r}",
        f"use one of {', '.join(all_stores)}, or a folder" if all_stores else "approve something first",
    )


def _open_store(folder: Path) -> AnnotationStore:
    from napari_latentseg.annotations import AnnotationStore

    return AnnotationStore(folder)


def _slice_ranges(planes: tuple[int, ...]) -> str:
    from napari_latentseg.annotations.records import as_ranges

    return ",".join(str(a + 1) if a == b else f"{a + 1}-{b + 1}" for a, b in as_ranges(planes))
