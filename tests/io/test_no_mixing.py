"""Two patients and one folder, in any order: no file of one is replaced, mixed or read as the other's."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.helpers.segmentation import segmentation

from napari_latentseg import api
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io.file_hashes import path_sha256
from napari_latentseg.io.read_results import read_segmentation
from napari_latentseg.measure import measure

PATIENTS = ("a", "b")
FORMATS = (None, "png", "nrrd", "ome-zarr")
STEMS = ("T1", "case-2")
MINE = "T1_mask_by_hand.nii.gz"


class Killed(BaseException):
    """Stands for the end of the process: no handler of errors and no cleanup runs to its end."""


def of(patient: str, run: int, *, variance: bool = True) -> Segmentation:
    """A result whose mask has as many voxels as no result of the other patient."""
    result = segmentation(Geometry.from_spacing("yx"))
    mask = np.zeros((6, 9), np.uint8)
    mask.flat[: 1 + 2 * run + PATIENTS.index(patient)] = 1
    mean = np.where(mask, 0.9, 0.1).astype(np.float32)[None]
    record = result.record
    record = record.replace(
        input=record.input.model_copy(update={"sha256": patient * 64}), seed=run,
        time=f"2026-01-01T00:00:{run:02}+00:00",
    )  # fmt: skip
    return replace(result, mask=mask, mean=mean, variance=mean / 4 if variance else None, record=record)


WRITE = {
    "patient": st.sampled_from(PATIENTS), "format": st.sampled_from(FORMATS),
    "stem": st.sampled_from(STEMS), "extras": st.booleans(), "variance": st.booleans(),
    "overwrite": st.booleans(),
}  # fmt: skip


class OneFolder(RuleBasedStateMachine):
    """Writes into one folder, some of which fail or are killed in between."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / MINE).write_text("mine")
        self.runs = 0
        self.written: dict[str, tuple[str, int]] = {}
        """The patient and the run of each stem."""
        self.uncertain: set[str] = set()
        """Stems whose write was killed, and may be the one or the other."""

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def attempt(self, patient: str, stem: str, *, overwrite: bool, **options: bool | str | None) -> bool:
        """Write a result; whether it was written."""
        extras = bool(options["extras"])
        self.runs = self.runs % 20 + 1
        result = of(patient, self.runs, variance=bool(options["variance"]))
        report = self.folder / f"{stem}_report.html" if extras else None
        paths = api.write_result(
            result, self.folder, stem, format=options["format"], table=extras, contours=extras, report=report,
            append_to=self.folder / "cases.csv", overwrite=overwrite,
        )  # fmt: skip
        return bool(paths)

    @rule(**WRITE)
    def write(self, patient: str, stem: str, overwrite: bool, **options: bool | str | None) -> None:
        before = self.contents(stem)
        owner = self.written.get(stem)
        refusal = ""
        try:
            self.attempt(patient, stem, overwrite=overwrite, **options)
        except BadInput as error:
            refusal = str(error)
        if not refusal:
            assert overwrite or owner is None or owner[0] == patient or stem in self.uncertain
            self.written[stem] = (patient, self.runs)
            self.uncertain.discard(stem)
            return
        assert not overwrite
        if stem not in self.uncertain:
            assert "another image" in refusal
            assert self.contents(stem) == before
            # the table may lag behind: a process was killed before it added its rows
            assert (owner is not None and owner[0] != patient) or "cases.csv" in refusal

    @rule(**WRITE, step=st.integers(1, 8))
    def fail(self, patient: str, stem: str, overwrite: bool, step: int, **options: bool | str | None) -> None:
        """The disk is full at some step; what was there stays."""
        before, whole = self.contents(stem), stem not in self.uncertain
        with self.broken(step, OSError(28, "No space left on device")) as broken:
            try:
                self.attempt(patient, stem, overwrite=overwrite, **options)
            except BadInput:
                if not broken or not broken[0].endswith("cases.csv"):
                    assert not whole or self.contents(stem) == before
                    return
            else:
                assert not broken, "a full disk was not noticed"
        self.written[stem] = (patient, self.runs)
        self.uncertain.discard(stem)

    @rule(**WRITE, step=st.integers(1, 8))
    def kill(self, patient: str, stem: str, overwrite: bool, step: int, **options: bool | str | None) -> None:
        """The process ends at some step."""
        with self.broken(step, Killed()) as broken, patch("shutil.rmtree"):
            try:
                self.attempt(patient, stem, overwrite=overwrite, **options)
            except BadInput:
                return
            except Killed:
                if not broken[0].endswith("cases.csv"):
                    self.uncertain.add(stem)
                    return
        self.written[stem] = (patient, self.runs)
        self.uncertain.discard(stem)

    @contextlib.contextmanager
    def broken(self, step: int, error: BaseException):
        """Let the n-th move into the folder fail."""
        move, moves, broken = Path.replace, [0], []

        def moving(source: Path, target: Path) -> Path:
            if Path(target).parent == self.folder:
                moves[0] += 1
                if moves[0] == step:
                    broken.append(str(target))
                    raise error
            return move(source, target)

        with patch.object(Path, "replace", moving):
            yield broken

    def contents(self, stem: str) -> dict[str, str]:
        return {p.name: path_sha256(p) for p in self.folder.glob(f"{stem}_*")}

    @invariant()
    def nothing_is_mixed(self) -> None:
        if not hasattr(self, "folder"):
            return
        assert (self.folder / MINE).read_text() == "mine"
        with (
            contextlib.suppress(FileNotFoundError),
            (self.folder / "cases.csv").open(encoding="utf-8-sig") as file,
        ):
            images = {(row["case"], row["image"]) for row in csv.DictReader(file)}
            assert len(images) == len({case for case, _ in images})
        for stem in STEMS:
            files = {p for p in self.contents(stem) if p not in (MINE, f"{stem}_run.json")}
            record_path = self.folder / f"{stem}_run.json"
            if stem in self.uncertain:
                with contextlib.suppress(BadInput):  # refused, or whole
                    self.belongs_together(record_path, read_segmentation(record_path))
                continue
            if stem not in self.written:
                assert not files
                continue
            patient, run = self.written[stem]
            record = json.loads(record_path.read_text())
            assert (record["input"]["sha256"], record["seed"]) == (patient * 64, run)
            assert files == {f"{stem}_{name}" for name in record["files"]}
            for name, sha256 in record["files"].items():
                assert path_sha256(self.folder / f"{stem}_{name}") == sha256
            self.belongs_together(record_path, read_segmentation(record_path))

    @staticmethod
    def belongs_together(record_path: Path, result: Segmentation) -> None:
        """Mask, mean and record are of one run."""
        patient, run = result.record.input.sha256[0], result.record.seed
        assert measure(result, objects=False)[0].value == 1 + 2 * run + PATIENTS.index(patient)
        assert np.array_equal(result.mask > 0, result.mean[0] > 0.5)
        table = record_path.with_name(record_path.name.replace("run.json", "measurements.csv"))
        if "measurements.csv" in result.record.files:
            assert f",{float(1 + 2 * run + PATIENTS.index(patient))}," in table.read_text()


OneFolder.TestCase.settings = settings(
    max_examples=15, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)
TestOneFolder = pytest.mark.timeout(300)(OneFolder.TestCase)
