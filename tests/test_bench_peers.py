"""bench/peers.py: jobs that are passed over, the schedule by time, and the table; nothing is trained."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_latentseg.training.config_files import load_config

BENCH = Path(__file__).parent.parent / "bench"
DICE = {"ours": (0.9, 0.8, 0.7, 0.9), "unet": (0.8, 0.7, 0.7, 0.6)}


@pytest.fixture
def part(monkeypatch):
    """A module of bench/peer_models by its name."""
    monkeypatch.syspath_prepend(str(BENCH))
    return lambda name: import_module(f"peer_models.{name}")


def result(dice, seed=0, **training):
    """What a job writes of four images, two of one patient."""
    images = [{"name": f"image_{i}", "dsc": value} for i, value in enumerate(dice)]
    return {
        "training": {
            "cpu_seconds": 300, "steps": 400, "batch": 4, "trainable": 2_500_000, "note": "one pass",
        } | training,
        "segmenting_seconds": 0.5,
        "missed": 0.0,
        "units": ["a", "a", "b", "c"],
        "report": {
            "images": images if seed == 0 else images[::-1],
            "mean": {"iou": 0.7, "hd95": 10.0},
            "calibration": {"reliability": {"ece": 0.02}},
        },
    }  # fmt: skip


def write(part, folder, peer, dice, seed=0, data_set="busi", **training):
    job = part("jobs").Job(data_set, peer, seed, 5.0)
    job.write(folder, result(dice, seed, **training))
    return job


def test_every_set_is_completed_before_the_next_and_planes_have_no_3d(part):
    jobs = list(part("jobs").jobs(["busi", "msd_hippocampus"], ["ours", "nnunet-3d"], [0, 1], [5.0]))
    assert [(j.data_set, j.peer, j.seed) for j in jobs] == [
        ("busi", "ours", 0), ("msd_hippocampus", "ours", 0), ("msd_hippocampus", "nnunet-3d", 0),
        ("busi", "ours", 1), ("msd_hippocampus", "ours", 1), ("msd_hippocampus", "nnunet-3d", 1),
    ]  # fmt: skip


def test_a_job_is_done_when_its_whole_result_is_there(part, tmp_path):
    job = part("jobs").Job("busi", "unet", 0, 5.0)
    assert not job.is_done(tmp_path)
    job.path(tmp_path).with_suffix(".part").write_text("{")
    assert not job.is_done(tmp_path)
    job.write(tmp_path, result(DICE["unet"]))
    assert job.is_done(tmp_path)
    assert not part("jobs").Job("busi", "unet", 1, 5.0).is_done(tmp_path)
    assert not part("jobs").Job("busi", "unet", 0, 20.0).is_done(tmp_path)


def test_the_queue_passes_over_what_is_done(part, tmp_path):
    """No set is there to be read, so that a job that was begun would fail."""
    for peer in DICE:
        write(part, tmp_path, peer, DICE[peer])
    command = [sys.executable, BENCH / "peers.py", "run", "--data", tmp_path / "none", "--out", tmp_path]
    done = subprocess.run([*command, "--sets", "busi", "--peers", *DICE], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    failed = subprocess.run(
        [*command, "--sets", "busi", "--peers", "ours", "--seeds", "1"], capture_output=True, text=True
    )
    assert failed.returncode == 1
    assert "failed: busi_ours_5min_seed1" in failed.stderr


def test_only_the_counted_work_uses_the_budget(part):
    ticks = iter([0.0, 3.0, 10.0, 16.0])
    budget = part("budget").CpuBudget(8.0, lambda: next(ticks))
    with budget.counting():
        pass
    assert (budget.used, budget.share, budget.is_left) == (3.0, 0.375, True)
    with pytest.raises(RuntimeError), budget.counting():
        raise RuntimeError
    assert (budget.used, budget.is_left) == (9.0, False)


def test_schedules_end_with_the_budget(part):
    budget = part("budget")
    assert 0 < budget.cosine_factor(0.0) < 0.02
    assert budget.cosine_factor(budget.WARMUP_SHARE) == 1
    for factor in (budget.cosine_factor, budget.polynomial_factor):
        assert factor(1.0) == factor(1.1) == 0
        assert factor(0.9) < factor(0.5) < factor(0.1)


@pytest.mark.parametrize(
    ("seconds_per_image", "batch"), [(0.01, 16), (0.075, 16), (0.1, 8), (0.3, 4), (1.0, 2), (9.0, 2)]
)
def test_a_batch_is_halved_until_enough_steps_fit(part, seconds_per_image, batch):
    assert part("budget").fitting_batch(300, seconds_per_image, 16) == batch


def test_a_shortened_configuration_keeps_its_proportions(part):
    ours = part("ours")
    config = load_config("breast-ultrasound")
    plans = {"": ours.StagePlan(1600, 0.05)}
    short = ours.shortened(config.replace(batch_size=4), plans, {"": 160}, 160).for_stage("")
    assert (short.epochs, short.warmup_epochs, short.batch_size) == (1, 0.05, 4)
    assert short.ema_decay == pytest.approx(0.9)  # a tenth of the steps, a tenth of the average's length
    assert short.learning_rate == config.learning_rate
    two = {"autoencoders": ours.StagePlan(800, 0.1), "diffusion": ours.StagePlan(4000, 0.02)}
    config = load_config("guided-small")
    short = ours.shortened(config, two, {"autoencoders": 20, "diffusion": 100}, 20)
    assert short.for_stage("autoencoders").epochs == 1
    assert (short.for_stage("diffusion").epochs, short.for_stage("diffusion").warmup_epochs) == (5, 0.1)


def test_an_epoch_has_as_many_images_as_asked_for(part):
    ours = part("ours")
    dataclass = import_module("napari_latentseg.training.dataset").Dataset
    data = dataclass([SimpleNamespace(number=i) for i in range(5)], [])
    config, epoch = ours.epoch_of(load_config("retina-vessels"), data, 12)
    counts = np.bincount([s.number for s in epoch.train])
    assert (len(epoch.train), config.crops_per_image, counts.min(), counts.max()) == (12, 1, 2, 3)
    config, epoch = ours.epoch_of(load_config("hippocampus-mr"), data, 12)
    assert (config.draw.planes, epoch) == (12, data)


def test_the_table_is_of_the_same_images_whatever_their_order(part, tmp_path):
    for seed in (0, 1):
        write(part, tmp_path, "ours", DICE["ours"], seed)
    write(part, tmp_path, "unet", DICE["unet"], trainable=14_600_000)
    table = part("table")
    ours, unet = table.rows(table.read_results(tmp_path))
    assert (ours["peer"], ours["seeds"], ours["images"], "difference" in ours) == ("ours", 2, 4, False)
    assert ours["dsc"] == pytest.approx(0.825)
    assert ours["interval"][0] < 0.825 < ours["interval"][1]
    assert unet["difference"]["mean"] == pytest.approx(0.125)
    text = table.markdown([ours, unet])
    assert "| U-Net (MONAI), one pass | 1 | 400 x 4, 5.0 | 14.60 | 0.700 (" in text
    assert "| +12.5 (" in text
    assert "ours has the higher Dice, at 5 minutes: U-Net (MONAI) 1 of 1." in text


def test_a_set_without_ours_has_no_difference(part, tmp_path):
    write(part, tmp_path, "unet", DICE["unet"])
    table = part("table")
    (row,) = table.rows(table.read_results(tmp_path))
    assert "difference" not in row
    assert "at 5 minutes: none yet." in table.markdown([row])


def test_the_document_keeps_what_is_around_its_table(part, tmp_path):
    table = part("table")
    write_section = import_module("document_section").write_section
    document = tmp_path / "benchmarks.md"
    document.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", "utf-8")
    write_section(document, table.BEGIN, table.END, "new")
    assert document.read_text("utf-8") == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    document.write_text("no markers", "utf-8")
    with pytest.raises(SystemExit, match="has no"):
        write_section(document, table.BEGIN, table.END, "new")


def test_a_folder_without_results_is_refused(part, tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"images": []}))
    with pytest.raises(SystemExit, match="holds no result"):
        part("table").read_results(tmp_path)
