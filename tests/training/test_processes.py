"""Several processes that train one model, on the CPU with gloo; real processes on this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.helpers.shared_training import KINDS, train_all

from napari_latentseg.models.card import read_card

pytest.importorskip("accelerate")

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "settings": {"width": 16, "levels": ["out"], "conditioner": "trained"},
    "codec": "tiny-codec",
    "preprocess": {"mode": "whole", "size": 32},
    "split": {"fraction": 0.3},
    "epochs": 3,
    "batch_size": 4,
    "warmup_epochs": 0,
    "schedule_by": "step",
    "ema_decay": 0.5,
}


def environment(**changes: object) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | {k: str(v) for k, v in changes.items()}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(
    count: int, *arguments: object, second: list[object] | None = None, **changes: object
) -> list[subprocess.Popen[str]]:
    """As `torchrun` starts them, without the seconds that its agent takes."""
    shared = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1"}
    shared["MASTER_PORT"] = free_port()
    return [
        subprocess.Popen(
            [sys.executable, "-m", *map(str, second if second and rank == 1 else arguments)],
            env=environment(RANK=rank, LOCAL_RANK=rank, **shared, **changes),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each process."""
    try:
        texts = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [(p.returncode, out, errors) for p, (out, errors) in zip(processes, texts, strict=True)]


def own_lines(errors: str) -> list[str]:
    return [line for line in errors.splitlines() if line.startswith("error:")]


@pytest.fixture(scope="module")
def data(write_ellipses: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ellipses(tmp_path_factory.mktemp("ellipses") / "data", count=8)


@pytest.fixture
def config(tmp_path: Path, tiny_codec_folder: Path) -> Path:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


def train_arguments(data: Path, out: Path, config: Path, *more: object) -> list[object]:
    return ["napari_latentseg", "train", "--data", data, "--out", out, "--config", config, *more]


@pytest.fixture(scope="module")
def trained(
    data: Path, tiny_codec_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same trainings in one process and in two."""
    folder = tmp_path_factory.mktemp("trained")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_all(data, folder / "one.safetensors")
    finally:
        torch.set_num_threads(threads)
    two = start(2, "tests.helpers.shared_training", data, folder / "two.safetensors")
    assert [code for code, _, _ in ended(two)] == [0, 0]
    return load_file(folder / "one.safetensors"), load_file(folder / "two.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_the_weights_of_one(
    trained: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]], kind: str
) -> None:
    one, two = ({k: v for k, v in tensors.items() if k.startswith(f"{kind}/")} for tensors in trained)
    assert one.keys() == two.keys()
    # through batch norms of few values rounding grows: the positions of the deepest features are 20
    gradient, weights = (2e-4, 1e-2) if kind == "pyramid" else (1e-5, 3e-4)

    def norm(tensors: dict[str, torch.Tensor], part: str) -> float:
        return sum(float(v.double().square().sum()) for k, v in tensors.items() if part in k) ** 0.5

    difference = {k: one[k].double() - two[k].double() for k in one}
    assert norm(one, "/gradient/") > 0
    assert norm(difference, "/gradient/") < gradient * norm(one, "/gradient/")
    assert norm(difference, "/weights/") < weights * norm(one, "/weights/")
    assert torch.allclose(
        one[f"{kind}/losses"], two[f"{kind}/losses"], atol=2e-2 if kind == "pyramid" else 1e-3
    )


def test_the_main_process_alone_reports_and_writes(data: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    main, other = ended(start(2, *train_arguments(data, out, config, "--events")))
    assert (main[0], other[0]) == (0, 0), (main[2], other[2])
    reported = [json.loads(line)["event"] for line in main[1].splitlines()]
    assert [event for event in reported if event != "progress"][:3] == ["data", "memory", "epoch"]
    assert other[1] == ""
    assert (own_lines(main[2]), own_lines(other[2])) == ([], [])
    assert json.loads((out / "training.json").read_text())["run"]["processes"] == 2
    assert not out.with_name("model.checkpoint").exists()
    assert read_card(out).name == "model"


def test_accelerate_launches_it(data: Path, config: Path, tmp_path: Path) -> None:
    """With its own launcher, and what its configuration says of precision and accumulation."""
    out = tmp_path / "model"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "bf16", "--main_process_port", str(free_port())]
    arguments = [str(a) for a in ["-m", *train_arguments(data, out, config, "--device", "cpu", "--quiet")]]
    done = subprocess.run(
        [*launch, *arguments],
        env=environment(ACCELERATE_GRADIENT_ACCUMULATION_STEPS=2, HF_HOME=tmp_path),
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "training.json").read_text())
    assert (record["precision"], record["accumulate"], record["run"]["processes"]) == ("bfloat16", 2, 2)


def test_a_signal_to_any_process_stops_all_and_another_number_of_them_resumes(
    data: Path, config: Path, tmp_path: Path
) -> None:
    out, straight = tmp_path / "model", tmp_path / "straight"
    epochs = ["--epochs", 40]
    processes = start(2, *train_arguments(data, out, config, "--events", *epochs))
    assert processes[0].stdout is not None
    for line in processes[0].stdout:
        if json.loads(line)["event"] == "epoch":
            processes[1].send_signal(signal.SIGTERM)
            break
    main, other = ended(processes)
    assert (main[0], other[0]) == (0, 0), (main[2], other[2])
    record = json.loads((out / "training.json").read_text())["run"]
    assert record["stopped"]
    assert 1 <= record["epochs"] < 40
    from napari_latentseg import api

    changes = {"epochs": 40}
    api.train(data, out, config=config, device="cpu", changes=changes, resume=True)
    api.train(data, straight, config=config, device="cpu", changes=changes)
    resumed, whole = (load_file(folder / "weights.safetensors") for folder in (out, straight))
    for name, value in whole.items():
        assert torch.allclose(resumed[name].float(), value.float(), atol=2e-2), name
    assert "processes" not in json.loads((out / "training.json").read_text())["run"]


@pytest.mark.parametrize(
    ("only_in_second", "said"),
    [(False, "batch_size: 1 images cannot be shared by 2 processes; launch at most 1"), (True, "elsewhere")],
)
def test_an_error_ends_all_processes_with_one_line(
    data: Path, config: Path, tmp_path: Path, only_in_second: bool, said: str
) -> None:
    arguments = train_arguments(
        data, tmp_path / "model", config, *([] if only_in_second else ["--batch-size", 1])
    )
    second = (
        train_arguments(tmp_path / "elsewhere", tmp_path / "model", config) if only_in_second else arguments
    )
    results = ended(start(2, *arguments, second=second))
    lines = [line for _, _, errors in results for line in own_lines(errors)]
    assert len(lines) == 1, results
    assert said in lines[0]
    assert {code for code, _, _ in results} == {1, 2}
    assert not any("Traceback" in errors for _, _, errors in results)
    assert not (tmp_path / "model").exists()


def test_where_a_process_is_killed_the_others_end(data: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    processes = start(2, *train_arguments(data, out, config, "--events", "--epochs", 4000))
    assert processes[0].stdout is not None
    for line in processes[0].stdout:
        if json.loads(line)["event"] == "epoch":
            processes[1].kill()
            break
    begun = time.monotonic()
    main, _ = ended(processes)
    assert time.monotonic() - begun < 60
    assert (main[0], own_lines(main[2])) == (1, [])
    assert "Traceback" not in main[2]
    assert not out.exists()
