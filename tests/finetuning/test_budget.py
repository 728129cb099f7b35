"""Which slices are trained on, and on which the weights are selected."""

from __future__ import annotations

import pytest
import torch

from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.data.slices import Slice
from napari_latentseg.finetuning.budget import CaseSplit, split_cases
from napari_latentseg.models.split import Part

WHOLE = Preprocess(mode="whole", size=32)
TILES = Preprocess(mode="tiles", size=32, long_side=128)


def slices_of(case: int, count: int, *, width: int = 32, marked: bool = True) -> list[Slice]:
    mask = torch.full((1, 32, width), int(marked), dtype=torch.uint8)
    image = torch.zeros(3, 32, width, dtype=torch.uint8)
    return [Slice(image, mask, f"{case}", case=case) for _ in range(count)]


def numbers(split: CaseSplit) -> tuple[set[int], set[int]]:
    return {s.case for s in split.train}, {s.case for s in split.validation}


@pytest.mark.parametrize(("cases", "held_out"), [(2, 1), (5, 1), (6, 2), (10, 2), (11, 3), (20, 4)])
def test_a_fifth_of_the_cases_is_for_validation(cases: int, held_out: int) -> None:
    slices = [s for case in range(1, cases + 1) for s in slices_of(case, 3)]
    split = split_cases([f"key {n}" for n in range(cases)], slices, 0, WHOLE)
    train, validation = numbers(split)
    assert train | validation == set(range(1, cases + 1))
    assert validation == set(split.validation_cases)
    assert len(validation) == held_out
    assert not train & validation
    assert len(split.train) + len(split.validation) == len(slices)
    assert bool(split.note) == (held_out < 3)


def test_the_seed_draws_the_cases_whatever_their_order() -> None:
    keys = [f"key {n}" for n in range(10)]
    slices = [s for case in range(1, 11) for s in slices_of(case, 1)]
    first = {keys[n - 1] for n in split_cases(keys, slices, 3, WHOLE).validation_cases}
    again = {keys[::-1][n - 1] for n in split_cases(keys[::-1], slices, 3, WHOLE).validation_cases}
    assert first == again
    drawn = {split_cases(keys, slices, seed, WHOLE).validation_cases for seed in range(6)}
    assert len(drawn) > 1


T: Part = "train"
V: Part = "validation"
N: Part = ""
ROUNDS: dict[str, tuple[list[Part], set[int] | None]] = {
    "the new case judges, not the one that was taught": ([T, N], {2}),
    "a validation case of the round before stays one": ([T, V, N, N], {2}),
    "and is joined by new ones where it is too little": ([V, *[N] * 10], None),
    "of several new cases some judge": ([T, T, T, T, N, N, N], None),
    "the new ones are all trained on where there are enough": ([T, V, V, N, N], {2, 3}),
    "one new case beside one for validation is trained on": ([V, N], {1}),
    "nothing is new": ([T, V], {2}),
    "all were for validation": ([V, V, V], None),
}


@pytest.mark.parametrize(("parts", "expected"), ROUNDS.values(), ids=ROUNDS.keys())
def test_what_the_base_has_learned_never_judges(parts: list[Part], expected: set[int] | None) -> None:
    count = len(parts)
    slices = [s for case in range(1, count + 1) for s in slices_of(case, 1)]
    for seed in range(5):
        split = split_cases([f"key {n}" for n in range(count)], slices, seed, WHOLE, parts)
        train, validation = numbers(split)
        assert validation
        assert train
        assert not {n for n in validation if parts[n - 1] == T}
        kept = {n for n, part in enumerate(parts, start=1) if part == V}
        assert kept <= validation or not {T, N} & set(parts)
        assert not split.all_known
        if expected is not None:
            assert validation == expected
        assert len(validation) >= 0.2 * count
        if T in parts:
            assert "trained on before, and cannot judge" in split.note


def test_where_the_base_has_learned_every_case_nothing_judges() -> None:
    slices = [s for case in (1, 2, 3) for s in slices_of(case, 1)]
    split = split_cases(["a", "b", "c"], slices, 0, WHOLE, [T, T, T])
    assert (split.train, split.validation, split.validation_cases) == (slices, [], ())
    assert split.all_known
    assert split.note.startswith("both models know these cases")
    assert split_cases(["a"], slices_of(1, 1), 0, WHOLE, [T]).note.startswith(
        "both models know the only case"
    )


@pytest.mark.parametrize(("count", "validation"), [(4, 1), (8, 2), (30, 7)])
def test_of_one_case_the_last_slices_select_the_weights(count: int, validation: int) -> None:
    slices = slices_of(1, count)
    split = split_cases(["key"], slices, 0, WHOLE)
    assert split.validation_cases == ()
    assert split.validation == slices[-validation:]
    assert split.train == slices[:-validation]
    assert split.note.endswith("the weights are selected on its last slices")


def test_of_one_large_photograph_a_quarter_selects_the_weights() -> None:
    split = split_cases(["key"], slices_of(1, 1, width=128), 0, TILES)
    assert [s.image.shape[-1] for s in (*split.train, *split.validation)] == [96, 32]
    assert split.note.endswith("a quarter of the image")


@pytest.mark.parametrize(
    ("slices", "preprocess"),
    [
        (slices_of(1, 3), WHOLE),
        (slices_of(1, 1, width=128), WHOLE),
        (slices_of(1, 1, width=60), TILES),
        (slices_of(1, 1, width=128, marked=False), TILES),
    ],
    ids=["few slices", "not in tiles", "a narrow photograph", "nothing is marked in a part"],
)
def test_where_there_is_too_little_all_is_trained_on(slices: list[Slice], preprocess: Preprocess) -> None:
    split = split_cases(["key"], slices, 0, preprocess)
    assert (split.train, split.validation, split.validation_cases) == (slices, [], ())
    assert split.note.endswith("half of the change is kept")
