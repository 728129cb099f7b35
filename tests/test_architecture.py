"""The layers of the package, the size of its files, and what an import may load."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "napari_latentseg"
MANIFEST = PACKAGE / "napari.yaml"
PYTHON_FOLDERS = {"bench", "src", "tests", "tools"}
MAX_LINES = 450
"""Of a file: more is read by nobody in one go, and does more than one thing."""

QT = {"PyQt5", "PyQt6", "PySide2", "PySide6", "magicgui", "napari", "pyqtgraph", "qtpy", "superqt", "vispy"}
HEAVY = {
    "dask", "diffusers", "jinja2", "monai", "nibabel", "numpy", "pandas", "pydantic", "scipy", "skimage",
    "torch", "yaozarrs",
}  # fmt: skip
NETWORKS = {"diffusers", "huggingface_hub", "safetensors", "torch"} | QT
LEARNING = NETWORKS | {"scipy", "skimage"}
FILES = {"PIL", "dask", "highdicom", "nibabel", "pydicom", "tifffile"}

# In the order in which one interpreter runs them: what it may not load, then the code. Each is charged with
# what it loads itself, so an earlier step may load no more than a later one.
STEPS: dict[str, tuple[set[str], str]] = {
    "the package": (HEAVY | QT, "import napari_latentseg"),
    "the manifest": (
        NETWORKS | {"napari_latentseg"},
        f"import npe2; npe2.PluginManifest.from_file({str(MANIFEST)!r})",
    ),
    "the formats": (
        FILES | NETWORKS,
        "import napari_latentseg.io as formats; [formats.format_for(name) for name in formats.FORMATS]",
    ),
    "a card": (LEARNING, "import napari_latentseg.models.card"),
    "a codec's settings": (LEARNING, "import napari_latentseg.codecs.spec"),
    "the layout of a model folder": (
        LEARNING,
        "import napari_latentseg.models.layout",
    ),
    "the text of a card": (LEARNING, "import napari_latentseg.models.card_text"),
    "the models at hand": (
        LEARNING,
        "from napari_latentseg.models.store import list_cards; list_cards()",
    ),
    "the hub": (LEARNING, "import napari_latentseg.models.hub"),
    "a segmentation": (LEARNING, "import napari_latentseg.core.segmentation"),
    "the loop of a run": (
        {"diffusers", "scipy", "skimage", "torch"} | QT,
        "import napari_latentseg.inference.run",
    ),
    "the settings of a run": (
        LEARNING,
        "from napari_latentseg.inference.settings import InferenceSettings\n"
        "from napari_latentseg.models.card import read_card\n"
        "from napari_latentseg.models.store import find_model\n"
        "InferenceSettings.for_model(read_card(find_model('retina-vessels')))",
    ),
}

COMPILER = {"sympy", "torch._dynamo", "torch._inductor"}
"""What torch loads to compile networks: over a second of processor time, and nothing here compiles."""

RUN_STEPS = """
import json, sys
for code in json.loads(sys.argv[1]):
    before = set(sys.modules)
    exec(code, {})
    print(json.dumps(sorted(set(sys.modules) - before)))
"""


def run_python(code: str, *args: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def loaded_by_step() -> dict[str, set[str]]:
    """The top-level packages that each step loads, in one fresh interpreter."""
    printed = run_python(RUN_STEPS, json.dumps([code for _, code in STEPS.values()]))
    return {
        step: {module.partition(".")[0] for module in json.loads(line)}
        for step, line in zip(STEPS, printed.splitlines(), strict=True)
    }


def modules_named_in(source: str) -> set[str]:
    """The modules that a source imports anywhere, lazily and for type checking too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                names.add(module)
    return names


def packages_named_in(source: str) -> set[str]:
    """The top-level packages of `modules_named_in`."""
    return {name.partition(".")[0] for name in modules_named_in(source)}


def test_no_import_runs_upward_or_in_a_circle() -> None:
    pytest.importorskip("importlinter", reason="import-linter comes with the extra dev")
    run_python("import sys\nfrom importlinter.cli import lint_imports\nsys.exit(lint_imports(no_cache=True))")


def test_the_contracts_are_there() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    contracts = {contract["type"]: contract for contract in settings["contracts"]}
    assert set(contracts) == {"layers", "acyclic_siblings", "forbidden"}
    packages = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    layered = {name.strip(" ()") for layer in contracts["layers"]["layers"] for name in layer.split("|")}
    assert packages - {"__init__"} <= layered


@pytest.mark.parametrize(
    "source",
    [
        "import napari.layers",
        "def f():\n    from qtpy.QtCore import Qt",
        "if TYPE_CHECKING:\n    from magicgui.widgets import Container",
        "importlib.import_module('superqt.utils')",
    ],
)
def test_the_scan_sees_every_way_to_import(source: str) -> None:
    assert packages_named_in(source) & QT


def test_only_the_widgets_know_napari_and_qt() -> None:
    modules = [p for p in PACKAGE.rglob("*.py") if PACKAGE / "widgets" not in p.parents]
    assert modules
    offenders = {
        path.relative_to(PACKAGE).as_posix(): packages
        for path in modules
        if (packages := packages_named_in(path.read_text(encoding="utf-8")) & QT)
    }
    assert not offenders


def test_no_file_is_too_long_to_be_read() -> None:
    files = [path for folder in PYTHON_FOLDERS for path in (ROOT / folder).rglob("*.py")]
    files += ROOT.glob("*.py")
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in files
    }
    assert {name.partition("/")[0] for name in lengths} >= PYTHON_FOLDERS
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_the_document_names_files_that_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = text.partition("## Where do I find")[2].partition("## Layers")[0]
    missing = set()
    for row in table.splitlines():
        folder = PACKAGE  # of a name without one: that of the path before it
        for name in re.findall(r"`([\w./]+(?:/|\.(?:py|pyi|j2|yaml)))`", row):
            places = [PACKAGE / name, folder / name, ROOT / name]
            path = next((place for place in places if place.exists()), None)
            if path is None:
                missing.add(name)
            else:
                folder = path if path.is_dir() else path.parent
    assert not missing


def test_the_document_has_the_layers_that_are_checked() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    layers = text.partition("## Layers")[2].partition("```\n")[2].partition("```")[0].split("\n")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    checked = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert layers[:-1] == [re.sub("[()]", "", layer) for layer in checked if layer != "(__main__)"]


def test_what_the_benchmarks_import_is_there() -> None:
    """No test runs them, and type checks leave them out: a name that moved would be found by who measures."""
    missing = []
    for file in sorted((ROOT / "bench").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
        of_earlier_checkouts = {id(node) for handler in handlers for node in ast.walk(handler)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and id(node) not in of_earlier_checkouts:
                missing += [f"{file.name}: {name}" for name in names_missing(node.module, node.names)]
    assert not missing


def names_missing(module: str, names: list[ast.alias]) -> list[str]:
    """The names that a module of this project does not hold."""
    ours = module.split(".")[0] == "napari_latentseg"
    path = (ROOT / "src" if ours else ROOT / "bench").joinpath(*module.split("."))
    sources = [path.with_suffix(".py"), path / "__init__.py", path / "__init__.pyi"]
    text = "\n".join(source.read_text(encoding="utf-8") for source in sources if source.is_file())
    if not text and not ours:
        return []  # of another package
    return [
        f"{module}.{alias.name}"
        for alias in names
        if not re.search(rf"\b{alias.name}\b", text) and not (path / f"{alias.name}.py").is_file()
    ]


def test_no_test_imports_from_another() -> None:
    """What two of them need is a fixture or a helper."""
    modules = list((ROOT / "tests").rglob("test_*.py"))
    assert modules
    importing = {
        path.relative_to(ROOT).as_posix(): names
        for path in modules
        if (
            names := {
                name
                for name in modules_named_in(path.read_text(encoding="utf-8"))
                if name.startswith("tests.") and not name.startswith("tests.helpers")
            }
        )
    }
    assert importing == {}


@pytest.mark.parametrize("step", STEPS)
def test_an_import_loads_no_more_than_it_needs(loaded_by_step: dict[str, set[str]], step: str) -> None:
    forbidden, _ = STEPS[step]
    assert loaded_by_step[step] & forbidden == set()


def test_the_steps_load_what_they_name(loaded_by_step: dict[str, set[str]]) -> None:
    assert "napari_latentseg" in loaded_by_step["the package"]
    assert "npe2" in loaded_by_step["the manifest"]
    assert "numpy" in set.union(*loaded_by_step.values())


def test_a_model_is_loaded_without_the_compiler_of_torch() -> None:
    code = (
        "import json, sys\n"
        "from napari_latentseg.models.store import load_model\n"
        "[load_model(name) for name in ('breast-ultrasound', 'hippocampus-mr', 'retina-vessels')]\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    modules = set(json.loads(run_python(code)))
    assert "torch.nn" in modules
    assert COMPILER & modules == set()


@pytest.mark.skipif(sys.platform == "win32", reason="git makes no links on Windows by default")
def test_the_manifest_at_the_top_is_a_link_into_the_package() -> None:
    assert (ROOT / "napari.yaml").is_symlink()
    assert (ROOT / "napari.yaml").resolve() == MANIFEST.resolve()
