"""What is evaluated, on which images: the arguments of `evaluate`, and what the folder says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.counts import count_text

__all__ = ["EvaluationRequest", "FolderFacts", "look_at_folder"]


@dataclass(frozen=True)
class EvaluationRequest:
    """The arguments of an evaluation.

    Attributes
    ----------
    model, against
        Folders of the model and of the one that it is compared with; empty for none.
    data
        The folder of annotated images.
    subset, lists
        Which of the images: ``"all"``, the model's ``"validation"`` images, or with a file of lists a part of
        these, ``"train"``, ``"validation"`` or ``"test"``.
    samples, source
        None as the model is used.
    with_readers
        Whether the samples are compared with the masks of the readers in the folder.
    with_objects
        Whether the objects of the masks are matched, as of cell nuclei.
    patients
        A pattern of names whose first group is the patient; empty for none.
    clicks, images
        Of a model that is pointed at: most clicks on an object, and most images (None for all). Other models
        have no clicks; those that have are not compared, and have no source, readers, objects or patients.
    device
        As the command line takes it.
    """

    model: str
    data: Path
    subset: str = "all"
    lists: Path | None = None
    samples: int | None = None
    source: str | None = None
    against: str = ""
    with_readers: bool = False
    with_objects: bool = False
    patients: str = ""
    clicks: int | None = None
    images: int | None = None
    device: str = "auto"

    def command_line(self, folder: Path) -> list[str]:
        """The command and its options.

        Parameters
        ----------
        folder
            For the figures (`scores.json`), the page (`report.html`) and, without clicks, the worst images
            (`worst/`).
        """
        command = ["evaluate", "--model", self.model, "--data", str(self.data), "--subset", self.subset]
        command += ["--device", self.device, "--events", "--out", str(folder / "scores.json")]
        command += ["--report", str(folder / "report.html")]
        command += [] if self.clicks else ["--worst-images", str(folder / "worst")]
        for option, value in (
            ("--split", self.lists),
            ("--samples", self.samples),
            ("--sampling", self.source),
            ("--against", self.against),
            ("--readers", "auto" if self.with_readers else ""),
            ("--patients", self.patients),
            ("--clicks", self.clicks),
            ("--images", self.images),
        ):
            if value:
                command += [option, str(value)]
        return command + ["--objects"] * self.with_objects


@dataclass(frozen=True)
class FolderFacts:
    """What a folder of annotated images holds.

    Attributes
    ----------
    images
        How many there are.
    readers
        The folders of readers' masks.
    patients
        How many patients the pattern finds; None without a pattern.
    problem
        Why it cannot be evaluated on; empty where it can.
    """

    images: int = 0
    readers: tuple[str, ...] = ()
    patients: int | None = None
    problem: str = ""

    def describe(self) -> str:
        """One line for people."""
        if not self.images:
            return ""
        text = count_text(self.images, "annotated image")
        if self.patients is not None:
            text += f" of {count_text(self.patients, 'patient')}"
        if self.readers:
            text += f", masks of {count_text(len(self.readers), 'reader')}"
        return text


def look_at_folder(data: str, patients: str) -> FolderFacts:
    """What a folder holds, without decoding an image; call it in a worker.

    Parameters
    ----------
    data
        The folder; may be empty.
    patients
        See `EvaluationRequest`.
    """
    from napari_latentseg.annotations.annotated_folder import read_annotated_folder
    from napari_latentseg.api.evaluation_statistics import patients_of
    from napari_latentseg.data.readers import reader_folders

    if not data:
        return FolderFacts()
    folder = Path(data)
    try:
        cases = read_annotated_folder(folder).cases
    except BadInput as error:
        return FolderFacts(problem=str(error))
    try:
        readers = reader_folders(folder)
    except BadInput:  # most sets have one mask an image
        readers = ()
    try:
        names = patients_of([case.name for case in cases], patients or None)
    except BadInput as error:
        return FolderFacts(len(cases), readers, problem=str(error))
    return FolderFacts(len(cases), readers, None if names is None else len(set(names)))
