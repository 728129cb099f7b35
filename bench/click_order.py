"""In which order clicks are answered: mean Dice after each click of a simulated person, of five conventions.

    python bench/click_order.py MODEL --data DATA/msd_hippocampus --data DATA/acdc --images 5 [--samples 4]

Each has its own person, who clicks where the answers are wrong (`click_scores`). "clicked" corrects
the answer to the clicks before, in the order of the clicks; "in order" is what `PromptSession.answer` does,
and "inside first" the same of points whose order is not known; "twice" answers all at once, and once more
with that as the answer before; "at once" answers all at once.
Images that the model was trained on are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.inference.click_scores import Answer, click_scores
from napari_latentseg.inference.prompt_session import PromptSession
from prompts import pointed_at
from volumes_on_cpu import on_one_core


def conventions(session: PromptSession, samples: int) -> dict[str, Answer]:
    """What answers the clicks on one object; "clicked" remembers its last answer."""

    def once(prompts: Prompts, previous: Any = None) -> Any:
        return session._answer(prompts, samples, previous).mean

    def twice(prompts: Prompts) -> Any:
        first = once(prompts)
        return once(prompts, first) if len(prompts.positive) + len(prompts.negative) > 1 else first

    return {
        "clicked": _one_by_one(once),
        "in order": lambda prompts: session.answer(prompts, samples).mean,
        "inside first": lambda prompts: session.answer(prompts.replace(order=""), samples).mean,
        "twice": twice,
        "at once": once,
    }


def _one_by_one(once: Callable[[Prompts, Any], Any]) -> Answer:
    last: Any = None

    def answer(prompts: Prompts) -> Any:
        nonlocal last
        last = once(prompts, last)
        return last

    return answer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--samples", type=int, default=4)
    given = parser.parse_args()
    model, compute = on_one_core(given.model)
    for folder in given.data:
        rows: dict[str, list[list[float]]] = {}
        for _, image, mask in pointed_at(folder, model, given.images):
            session = PromptSession(model, image, compute)
            for name, answer in conventions(session, given.samples).items():
                rows.setdefault(name, []).append(click_scores(answer, mask))
        for name, scores in rows.items():
            print(folder.name, name, len(scores), "objects", np.round(np.mean(scores, axis=0), 3), flush=True)


if __name__ == "__main__":
    main()
