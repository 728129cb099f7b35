"""Three hundred damaged files of every kind; `make torture` reads 5,000."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[2] / "tools" / "fuzz.py"


@pytest.mark.skipif(not FUZZ.is_file(), reason="tools/ is not in this copy")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of memory is Linux's")
def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(FUZZ), "--count", "300", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failures of 300 inputs" in done.stdout
