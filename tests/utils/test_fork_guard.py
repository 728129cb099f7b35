"""A forked child of a process that has computed with threads is refused in one line; a spawned one works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import multiprocessing, sys
import numpy as np
import napari_latentseg as latentseg

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)

def work(seed):
    try:
        return int(latentseg.segment(IMAGE, sys.argv[2], samples=1, seed=seed).mask.size)
    except latentseg.BadInput as error:
        return str(error)

if __name__ == "__main__":
    print(work(0))
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print(pool.map_async(work, [1]).get(100)[0])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize(
    ("method", "threads", "answer"),
    [
        ("fork", 2, "process: was forked"),
        pytest.param("fork", 1, "1024", marks=pytest.mark.slow),
        pytest.param("spawn", 2, "1024", marks=pytest.mark.slow),
    ],
)
def test_a_child_is_refused_or_works_and_never_hangs(
    method: str,
    threads: int,
    answer: str,
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    script = tmp_path / "work.py"
    script.write_text(SCRIPT)
    command = [sys.executable, script, method, tiny_model_folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    own, child = done.stdout.splitlines()
    assert own == "1024"
    assert child.startswith(answer)
