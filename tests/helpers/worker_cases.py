"""What workers do in tests in place of segmenting: quick, and as bad as the name of the case says."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from napari_latentseg.batches.case import BatchCase, BatchJob, CaseOutcome


def do_case(job: BatchJob, case: BatchCase, progress: Any) -> CaseOutcome:
    """Write the number of this process, wait, or die of it."""
    progress(0.0)
    job.out.joinpath(f"{case.name}.{time.monotonic_ns()}.pid").write_text(str(os.getpid()), "utf-8")
    if case.name.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    if case.name.startswith("fatal-once") and len(list(job.out.glob(f"{case.name}.*.pid"))) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if case.name.startswith("endless"):
        while True:
            time.sleep(0.02)
            progress(0.5)
    if case.name.startswith("failing"):
        return CaseOutcome(case=case.name, state="failed", reason="cannot be read")
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return CaseOutcome(case=case.name, state="done", result=f"{case.name}.{threads}")
