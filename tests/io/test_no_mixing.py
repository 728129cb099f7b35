"""Two patients and one folder, in any order, from window, command line and Python.

No file of one is ever replaced, mixed or measured as the other's.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray
from tests.helpers.patients import (
    NAMES,
    WRITERS,
    Killed,
    Patient,
    broken_move,
    command,
    make_patients,
    owner_of,
)

from napari_latentseg.errors import BadInput
from napari_latentseg.io.file_hashes import path_sha256
from napari_latentseg.io.read_results import read_segmentation
from napari_latentseg.measure import measure

FORMATS = (None, "nifti", "ome-tiff", "nrrd", "metaimage", "ome-zarr", "dicom-seg")
STEMS = ("T1", "case-2")
MINE = "T1_mask_by_hand.nii.gz"
PERSON = "person"
VOXEL_MM3 = 2.0
MASK_NAMES = {"mask.nii.gz", "mask.ome.tif", "mask.nrrd", "mask.mha", "mask.ome.zarr"}

patient_names, stems = st.sampled_from(NAMES), st.sampled_from(STEMS)
WRITE = {
    "writer": st.sampled_from(tuple(WRITERS)), "name": patient_names, "stem": stems,
    "mask": st.sampled_from(("model", "thresholded", "corrected")), "format": st.sampled_from(FORMATS),
    "extras": st.booleans(), "cases": st.booleans(), "overwrite": st.booleans(),
}  # fmt: skip

counts: Counter[str] = Counter()
"""How often each thing was done, for a look at a long run."""


class OneFolder(RuleBasedStateMachine):
    """Writes into one folder, some of which fail or are killed, and what a person does in between.

    Every file is known by its content: who made it is the patient whose action it first appeared in.
    """

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.folder = self.root / "out"
        self.folder.mkdir()
        (self.folder / MINE).write_text("mine")
        self.patients: dict[str, Patient] = make_patients(self.root)
        self.numbers = itertools.count(1)
        self.masks: dict[int, NDArray[np.uint8]] = {}
        """The mask of each run."""
        self.made_by: dict[str, str] = {}
        """Who made a content, by its hash."""
        self.whole: dict[str, int] = {}
        """The run of each stem that was written and not touched since."""
        self.unsure: set[str] = set()
        """Stems that a person touched, or whose write was killed."""
        self.is_overwriting: set[str] = set()
        """Stems of which a write with `overwrite` was killed: the next write to them completes it."""
        self.killed: dict[str, set[str]] = {}
        """Whose writes to a stem were killed: the next write completes them and removes what it replaces."""
        self.kept: set[str] = set()
        """What a person made of a file after a write with `overwrite` was killed: its completion keeps it."""
        self.credit(PERSON)

    def teardown(self) -> None:
        shutil.rmtree(getattr(self, "root", ""), ignore_errors=True)

    def contents(self) -> dict[str, str]:
        """The hash of each file, those of unfinished writes too; but not of the table, which both share."""
        paths = [
            *self.folder.iterdir(),
            *self.folder.glob(".part-*/*"),
            *self.folder.glob(".part-*/earlier/*"),
        ]
        return {
            p.relative_to(self.folder).as_posix(): path_sha256(p)
            for p in paths
            if p.name not in ("cases.csv", "earlier") and not p.name.startswith(".")
        }

    def credit(self, maker: str) -> None:
        for sha256 in self.contents().values():
            self.made_by.setdefault(sha256, maker)

    @contextlib.contextmanager
    def acting(self, name: str, replaceable: str = "", overwrite: bool = False) -> Iterator[None]:
        """Something is done with the image of a patient; the files of all others must stay as they are.

        But those whose names begin with `replaceable`, where that is not empty.
        """
        before, kept = self.contents(), set() if overwrite else self.kept
        try:
            yield
        finally:
            self.credit(name)
            after = self.contents()
            for file, sha256 in before.items():
                maker = self.made_by[sha256]
                is_free = file.startswith((replaceable or ".", ".")) and sha256 not in kept
                if maker == name or is_free:
                    continue
                if file not in after and maker in self.killed.get(file.split("_", 1)[0], ()):
                    continue
                assert file in after, f"{file} of {maker} is gone"
                assert self.made_by[after[file]] == maker, f"{file} of {maker} was replaced by {name}"

    def voxels(self, number: int) -> int:
        return int(self.masks[number].sum())

    def replaceable(self, stem: str, overwrite: bool) -> str:
        return f"{stem}_" if overwrite or stem in self.is_overwriting else ""

    def write_once(self, writer: str, name: str, stem: str, mask: str, **options: Any) -> int:
        """Write a result of a new run; its number."""
        number = next(self.numbers)
        result = self.patients[name].result(number, mask)
        self.masks[number] = result.mask
        self.latest = number
        WRITERS[writer](self.patients[name], result, self.folder, stem, **options)
        return number

    @rule(**WRITE)
    def write(self, name: str, stem: str, overwrite: bool, cases: bool, **options: Any) -> None:
        owner = self.owner(stem)
        taken = cases and any(
            row["case"] == stem and not self.is_of(row["image"], name) for row in self.rows()
        )
        is_in_the_way = taken or owner not in (None, name) or self.has_stray(stem)
        refusal = ""
        with self.acting(name, self.replaceable(stem, overwrite), overwrite):
            try:
                number = self.write_once(name=name, stem=stem, overwrite=overwrite, cases=cases, **options)
            except BadInput as error:
                refusal = str(error)
        if refusal:
            counts["refused"] += 1
            assert not overwrite, refusal
            assert is_in_the_way or stem in self.unsure, refusal
            return
        counts[f"written from {options['writer']}"] += 1
        assert overwrite or not taken
        assert overwrite or owner in (None, name) or stem in self.unsure
        self.now_whole(stem, number)

    @rule(**WRITE, step=st.integers(1, 8))
    def fail(self, name: str, stem: str, overwrite: bool, step: int, **options: Any) -> None:
        """The disk is full at some step; what was there stays."""
        before, was_sure = self.contents(), stem not in self.unsure
        with (
            self.acting(name, self.replaceable(stem, overwrite), overwrite),
            broken_move(self.folder, step, OSError(28, "No space left on device")) as broken,
        ):
            try:
                number = self.write_once(name=name, stem=stem, overwrite=overwrite, **options)
            except BadInput:
                counts["full disk"] += bool(broken)
                if broken != ["cases.csv"]:
                    assert not was_sure or self.contents() == before
                    return
                number = self.latest
            else:
                assert not broken, "a full disk was not noticed"
        self.now_whole(stem, number)

    @rule(**WRITE, step=st.integers(1, 8))
    def kill(self, name: str, stem: str, overwrite: bool, step: int, **options: Any) -> None:
        """The process ends at some step."""
        present = {sha256 for file, sha256 in self.contents().items() if file.startswith(f"{stem}_")}
        with (
            self.acting(name, self.replaceable(stem, overwrite), overwrite),
            broken_move(self.folder, step, Killed()) as broken,
        ):
            try:
                number = self.write_once(name=name, stem=stem, overwrite=overwrite, **options)
            except BadInput:
                return
            except Killed:
                counts["killed"] += 1
                number = self.latest
                if broken != ["cases.csv"]:
                    self.whole.pop(stem, None)
                    self.unsure.add(stem)
                    self.killed.setdefault(stem, set()).add(name)
                    if overwrite:
                        self.is_overwriting.add(stem)
                        self.kept -= present  # which this write was to replace
                    return
        self.now_whole(stem, number)

    def now_whole(self, stem: str, number: int) -> None:
        self.whole[stem] = number
        self.unsure.discard(stem)
        self.is_overwriting.discard(stem)
        self.killed.pop(stem, None)

    @rule(stem=stems, file=st.sampled_from(("sizes.csv", *(f"{s}_measurements.csv" for s in STEMS))),
          overwrite=st.booleans())  # fmt: skip
    def measure_to_file(self, stem: str, file: str, overwrite: bool) -> None:
        self.use(stem, file, overwrite, "measure", "--no-objects", "--csv")

    @rule(stem=stems, file=st.sampled_from(("r.html", *(f"{s}_report.html" for s in STEMS))),
          overwrite=st.booleans())  # fmt: skip
    def report_to_file(self, stem: str, file: str, overwrite: bool) -> None:
        self.use(stem, file, overwrite, "report", "--out")

    def use(self, stem: str, file: str, overwrite: bool, name: str, *options: str) -> None:
        """Write a single file from a result: that of its own image, or none."""
        owner = self.owner(stem)
        record = self.folder / f"{stem}_run.json"
        flag = ["--overwrite"] if overwrite else []
        with (
            self.acting(owner or PERSON, file if overwrite else "", overwrite),
            contextlib.suppress(BadInput),
        ):
            command(name, record, *options, self.folder / file, *flag)
            counts[name] += 1

    @rule(stem=stems)
    def read_by_command(self, stem: str) -> None:
        """`measure` and `rank` say the numbers of the image that the record names."""
        record = self.folder / f"{stem}_run.json"
        owner = self.owner(stem)
        with self.acting(PERSON), contextlib.suppress(BadInput):
            (row,) = json.loads(command("measure", record, "--no-objects", "--json"))
            assert owner_of(round(row["value"] / VOXEL_MM3)) == owner
            json.loads(command("rank", record, "--json"))
            counts["read"] += 1

    @rule()
    def compare(self) -> None:
        """The Dice of the masks is that of the two runs."""
        if len(self.whole) < len(STEMS):
            return
        masks = [self.record(stem)["files"].keys() & MASK_NAMES for stem in STEMS]
        paths = [
            self.folder / f"{stem}_{min(names)}" for stem, names in zip(STEMS, masks, strict=True) if names
        ]
        if len(paths) < len(STEMS):  # in DICOM-SEG
            return
        with self.acting(PERSON):
            (row,) = json.loads(command("compare", *paths, "--json"))
        first, second = (self.masks[self.whole[stem]] > 0 for stem in STEMS)
        assert row["dsc"] == pytest.approx(2 * (first & second).sum() / (first.sum() + second.sum()))
        counts["compared"] += 1

    @rule(pick=st.integers(0, 40))
    def delete(self, pick: int) -> None:
        if path := self.picked(pick):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            counts["deleted"] += 1

    @rule(pick=st.integers(0, 40))
    def rename(self, pick: int) -> None:
        """A person gives a file the name that it would have in the other result."""
        if path := self.picked(pick):
            stem, kind = path.name.split("_", 1)
            target = path.with_name(f"{STEMS[1 - STEMS.index(stem)]}_{kind}")
            if target.is_dir():
                shutil.rmtree(target)
            path.replace(target)
            self.touch(target)
            counts["renamed"] += 1

    @rule(pick=st.integers(0, 40))
    def change(self, pick: int) -> None:
        path = self.picked(pick)
        if path is not None and path.is_file():
            maker = self.made_by[path_sha256(path)]
            path.write_bytes(path.read_bytes() + b"\n")
            # no file names the hash of a record: it still says whose result it is, and a new one replaces it
            self.credit(maker if path.name.endswith("run.json") else PERSON)
            if path.name.split("_", 1)[0] in self.is_overwriting:
                self.kept.add(path_sha256(path))
            counts["changed"] += 1

    def picked(self, number: int) -> Path | None:
        """One of the files of both results, which a person is about to touch."""
        names = sorted(p for p in self.contents() if p.startswith(STEMS) and p != MINE and "_" in p)
        if not names:
            return None
        path = self.folder / names[number % len(names)]
        self.touch(path)
        return path

    def touch(self, path: Path) -> None:
        stem = path.name.split("_", 1)[0]
        self.whole.pop(stem, None)
        self.unsure.add(stem)

    def has_stray(self, stem: str) -> bool:
        """Whether there is a file with the name of one of a result that its record does not name."""
        names = {
            n.removeprefix(f"{stem}_") for n in self.contents() if n.startswith(f"{stem}_") and n != MINE
        }
        with contextlib.suppress(OSError, ValueError):
            names -= self.record(stem)["files"].keys() | {"run.json"}
        return bool(names)

    def record(self, stem: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.folder / f"{stem}_run.json").read_text())
        return record

    def owner(self, stem: str) -> str | None:
        """The patient of a record; None without one that can be read."""
        with contextlib.suppress(OSError, ValueError):
            return self.name_of(self.record(stem)["input"]["sha256"])
        return None

    def name_of(self, sha256: str) -> str:
        return next(name for name, patient in self.patients.items() if patient.sha256 == sha256)

    def is_of(self, image: str, name: str) -> bool:
        return image == f"sha256:{self.patients[name].sha256[:16]}"

    def rows(self) -> list[dict[str, str]]:
        try:
            with (self.folder / "cases.csv").open(encoding="utf-8-sig", newline="") as file:
                return list(csv.DictReader(file))
        except FileNotFoundError:
            return []

    @invariant()
    def nothing_is_mixed(self) -> None:
        if not hasattr(self, "folder"):
            return
        counts["steps"] += 1
        assert (self.folder / MINE).read_text() == "mine"
        for stem in STEMS:
            if stem in self.whole:
                self.check_whole(stem)
            with contextlib.suppress(BadInput):
                self.check_numbers(stem)

    def check_whole(self, stem: str) -> None:
        """All files of the result are there as its record names them."""
        record, number = self.record(stem), self.whole[stem]
        assert record["seed"] == number
        assert self.name_of(record["input"]["sha256"]) == owner_of(self.voxels(number))
        for name, sha256 in record["files"].items():
            assert path_sha256(self.folder / f"{stem}_{name}") == sha256, name
        table = self.folder / f"{stem}_measurements.csv"
        if "measurements.csv" in record["files"]:
            assert f",{self.voxels(number) * VOXEL_MM3}," in table.read_text()

    def check_numbers(self, stem: str) -> None:
        """What can be read is of the run, and the patient, that the record names."""
        result = read_segmentation(self.folder / f"{stem}_run.json")
        voxels = round(measure(result, objects=False)[0].value / VOXEL_MM3)
        assert voxels == self.voxels(result.record.seed)
        assert owner_of(voxels) == self.name_of(result.record.input.sha256)

    @invariant()
    def the_table_is_true(self) -> None:
        if not hasattr(self, "folder"):
            return
        rows = self.rows()
        images = {(row["case"], row["image"]) for row in rows}
        assert len(images) == len({case for case, _ in images})
        for row in rows:
            voxels = round(float(row["size"]) / VOXEL_MM3)
            assert voxels in map(self.voxels, self.masks)
            assert self.is_of(row["image"], owner_of(voxels))


OneFolder.TestCase.settings = settings(
    max_examples=6, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.timeout(300)
class TestOneFolder(OneFolder.TestCase):
    """A class of its own, so that its limit of time is not that of `TestManyFolders`, too."""


@pytest.mark.slow
@pytest.mark.timeout(7200)
class TestManyFolders(OneFolder.TestCase):
    """The same, with thousands of steps that differ each time."""

    settings = settings(
        max_examples=250, stateful_step_count=30, deadline=None, derandomize=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    def runTest(self) -> None:
        counts.clear()
        super().runTest()
        report = ", ".join(f"{n} {what}" for what, n in counts.most_common())
        sys.stdout.write(f"{report}\n")
        assert counts["steps"] > 2000
