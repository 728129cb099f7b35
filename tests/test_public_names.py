"""Each public name is documented in full, and its example runs."""

from __future__ import annotations

import doctest
import inspect
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import napari_latentseg
from napari_latentseg import sample_data

NAMES = sorted(name for name in napari_latentseg.__all__ if not name.startswith("_"))
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(napari_latentseg, name))]
TYPES = [name for name in NAMES if inspect.isclass(getattr(napari_latentseg, name))]
# Only fine-tuning computes for more than five seconds.
EXAMPLES = [pytest.param(n, marks=pytest.mark.slow) if n == "finetune" else n for n in NAMES]


def sections(doc: str) -> dict[str, str]:
    """The sections of a numpydoc docstring by their titles."""
    parts = re.split(r"^(\w+)\n-{3,}\n", inspect.cleandoc(doc), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(section: str) -> set[str]:
    """The names that a section describes: those of its lines that are not indented."""
    lines = [line for line in section.splitlines() if line and not line.startswith(" ")]
    return {name.strip().lstrip("*") for line in lines for name in line.split(",")}


def test_every_name_is_a_function_or_a_type() -> None:
    assert set(FUNCTIONS) | set(TYPES) == set(NAMES)
    assert {"segment", "evaluate", "finetune", "BadInput", "Scan", "Geometry", "Segmentation"} <= set(NAMES)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_takes_gives_and_raises(name: str) -> None:
    function = getattr(napari_latentseg, name)
    signature = inspect.signature(function)
    documented = sections(function.__doc__)
    assert entries(documented.get("Parameters", "")) == set(signature.parameters)
    assert ("Returns" in documented) == (signature.return_annotation != "None")
    # a name that is free can always be found
    assert ("Raises" in documented) == bool(signature.parameters) or name == "free_model_name"
    assert ">>> " in documented["Examples"]


@pytest.mark.parametrize("name", TYPES)
def test_a_type_says_what_it_holds(name: str) -> None:
    public_type: Any = getattr(napari_latentseg, name)
    documented = sections(public_type.__doc__)
    fields = set(getattr(public_type, "model_fields", getattr(public_type, "__dataclass_fields__", ())))
    described = entries(documented.get("Parameters", "")) | entries(documented.get("Attributes", ""))
    assert {field for field in fields if not field.startswith("_")} - {"format"} <= described
    assert ">>> " in documented["Examples"]


@pytest.fixture
def example_home(
    own_home: Path, make_tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An empty working folder, an installed model `lesions`, and a candidate fine-tuned from it."""
    import torch

    from napari_latentseg.models.candidates import candidate_folder
    from napari_latentseg.models.card import Ancestor
    from napari_latentseg.models.folder import save_model_folder
    from napari_latentseg.models.layout import COMPARISON_FILE, WEIGHTS_FILE
    from napari_latentseg.models.store import load_model

    shutil.copytree(make_tiny_model("lesions"), own_home / "models" / "lesions")
    model = load_model("lesions")
    with torch.no_grad():
        for weight in model.method.trainable_modules.parameters():
            weight.add_(0.01)
    base = Ancestor(name="lesions", version="1", sha256=model.card.files[WEIGHTS_FILE])
    card = model.card.replace(name="lesions-tuned", lineage=(base,), parent="lesions 1")
    comparison = json.dumps({"line": "Better"}).encode()
    save_model_folder(candidate_folder("lesions-tuned"), model.method, card, {COMPARISON_FILE: comparison})
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def run_examples(item: object, name: str) -> doctest.TestResults:
    (test,) = doctest.DocTestFinder(recurse=False).find(item, name)  # with the names of its module
    return doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS).run(test)


@pytest.mark.usefixtures("example_home")
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs(name: str) -> None:
    results = run_examples(getattr(napari_latentseg, name), name)
    assert results.failed == 0
    assert results.attempted >= 2


@pytest.mark.usefixtures("example_home")
def test_the_example_of_the_sample_data_runs() -> None:
    function = sample_data.write_annotated_phantoms
    (test,) = doctest.DocTestFinder(recurse=False).find(function, "f", globs=dict(vars(sample_data)))
    assert doctest.DocTestRunner().run(test) == doctest.TestResults(failed=0, attempted=2)
