"""The floors of the house, and what an import may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "napari_latentseg"
MANIFEST = PACKAGE / "napari.yaml"

QT = {"PyQt5", "PyQt6", "PySide2", "PySide6", "magicgui", "napari", "pyqtgraph", "qtpy", "superqt", "vispy"}
HEAVY = {
    "dask", "diffusers", "jinja2", "monai", "nibabel", "numpy", "pandas", "pydantic", "scipy", "skimage",
    "torch", "yaozarrs",
}  # fmt: skip


def run_python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def loaded_after(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter holds after the code."""
    return set(
        run_python(f"{code}\nimport sys\nprint(*{{m.partition('.')[0] for m in sys.modules}})").split()
    )


def packages_named_in(source: str) -> set[str]:
    """The top-level packages that a module imports anywhere, lazily and for type checking too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=found):
                names |= {alias.name for alias in found}
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                names.add(module)
    return {name.partition(".")[0] for name in names}


def test_no_import_runs_upward() -> None:
    pytest.importorskip("importlinter", reason="import-linter comes with the extra dev")
    run_python("import sys\nfrom importlinter.cli import lint_imports\nsys.exit(lint_imports(no_cache=True))")


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
    knowing = {
        path.relative_to(PACKAGE).as_posix(): found
        for path in modules
        if (found := packages_named_in(path.read_text(encoding="utf-8")) & QT)
    }
    assert not knowing


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_after("import napari_latentseg") & (HEAVY | QT)


def test_reading_the_manifest_loads_neither_torch_nor_qt() -> None:
    loaded = loaded_after(f"import npe2\nnpe2.PluginManifest.from_file({str(MANIFEST)!r})")
    assert not loaded & ({"diffusers", "napari", "napari_latentseg", "torch"} | QT)


@pytest.mark.slow  # measures time; what an import may load is checked beside it
def test_importing_the_package_is_quick() -> None:
    def seconds(code: str) -> float:
        start = time.perf_counter()
        run_python(code)
        return time.perf_counter() - start

    # In turns, so that other work on the machine falls on both; the least is what the code itself takes.
    pairs = [(seconds("pass"), seconds("import napari_latentseg")) for _ in range(7)]
    bare, ours = (min(times) for times in zip(*pairs, strict=True))
    assert ours - bare < 0.1


@pytest.mark.skipif(sys.platform == "win32", reason="git makes no links on Windows by default")
def test_the_manifest_at_the_top_is_a_link_into_the_package() -> None:
    assert (ROOT / "napari.yaml").is_symlink()
    assert (ROOT / "napari.yaml").resolve() == MANIFEST.resolve()
