"""A reader who works through a list until the process is killed; see `test_two_readers`.

Whoever holds a case makes a file for it that must not exist, unless its maker has died. What was reported as
decided is printed.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import numpy as np

from napari_latentseg import CaseList, Geometry, Scan

ALONE = 17  # the exit code of a reader who met another in a case


def main(folder: Path, reader: str, parent: int) -> int:
    claims = folder.parent / "claims"
    claims.mkdir(exist_ok=True)
    cases = CaseList(folder)
    names = [case.name for case in cases.rows()]
    draws = random.Random(os.getpid())
    number = 0
    geometry = Geometry.from_spacing("yx", (1, 1), "mm")
    while os.getppid() == parent:
        draws.shuffle(names)
        case = cases.hold_next(names, reader)
        if case is None:
            for name in names[:5]:
                reopen(cases, name, reader)
            continue
        claim = claims / case.name
        if claim.exists() and is_alive(int(claim.read_text("utf-8") or "0")):
            return ALONE
        claim.write_text(str(os.getpid()), "utf-8")
        number += 1
        token = f"{reader}-{os.getpid()}-{number}"
        mask = Scan(np.full((4, 4), number % 200, np.uint8), "yx", geometry)
        cases.decide(case.name, reader, "approve", mask=mask, seconds=1.0, comment=token)
        sys.stdout.write(f"{case.name} {token}\n")
        sys.stdout.flush()
        claim.unlink()
        cases.release(case.name, reader)
    return 0


def reopen(cases: CaseList, name: str, reader: str) -> None:
    """Take a decision back, unless another reader has the case."""
    from napari_latentseg.caselist.case_list import HeldByAnother

    try:
        cases.decide(name, reader, "reopen")
    except HeldByAnother:
        return


def is_alive(process: int) -> bool:
    if process in (0, os.getpid()):
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # one that was killed stays in the table until its parent looks
    return Path(f"/proc/{process}/stat").read_text("utf-8").split(")")[-1].split()[0] != "Z"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], os.getppid()))
