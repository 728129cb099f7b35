from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).resolve().parents[2] / "tools" / "torture.py"


@pytest.mark.skipif(not TORTURE.is_file(), reason="tools/ is not in this copy")
def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    """Four; `make torture` does 200."""
    command = [sys.executable, str(TORTURE), "--kills", "4", "--seed", str(os.getpid())]
    jobs = ["--job", "approving", "--job", "autosaving", "--folder", str(tmp_path)]
    done = subprocess.run([*command, *jobs], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is lost" in done.stdout
