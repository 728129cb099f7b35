"""Preferences, as napari's own dialog sets and keeps them; and what the manifest puts into its menus."""

from __future__ import annotations

import json

import pytest
from napari._app_model import get_app_model
from napari._qt.dialogs.preferences_dialog import PreferencesDialog
from napari.settings import get_plugin_settings
from npe2 import PluginManifest
from qtpy.QtWidgets import QSpinBox

from napari_latentseg.utils.paths import data_home
from napari_latentseg.widgets._shared import preferences as module
from napari_latentseg.widgets._shared.preferences import Preferences, preferences

PLUGIN = "napari-latentseg"


@pytest.fixture
def warnings_shown(monkeypatch):
    messages = []
    monkeypatch.setattr(module, "show_warning", messages.append)
    module._warn_once.cache_clear()
    return messages


@pytest.fixture
def page(make_napari_viewer):
    make_napari_viewer()
    settings = get_plugin_settings(PLUGIN)
    yield settings.general
    settings.reset()


def test_napari_shows_the_page_and_we_read_what_it_was_given(page, qtbot):
    assert preferences() == Preferences()
    dialog = PreferencesDialog()
    qtbot.addWidget(dialog)
    names = [dialog._list.item(i).text() for i in range(dialog._list.count())]
    samples = dialog._stack.widget(names.index("LatentSeg")).findChildren(QSpinBox)[0]
    assert samples.value() == 0
    samples.setValue(9)
    assert preferences().samples == 9
    dialog.reject()  # Cancel brings back what was
    assert preferences().samples == 0


def test_the_manifest_says_the_same_as_the_model():
    (general,) = PluginManifest.from_distribution(PLUGIN).contributions.configurations.values()
    assert set(general.properties) == set(Preferences.model_fields)
    for name, described in general.properties.items():
        assert described.default == getattr(Preferences(), name)
        assert described.title
        assert described.description
    schema = Preferences.model_json_schema()["properties"]
    for name in ("samples", "memory_gb", "autosave_s"):
        assert general.properties[name].minimum == schema[name]["minimum"]
        assert general.properties[name].maximum == schema[name]["maximum"]
    assert list(general.properties["device"].enum) == schema["device"]["enum"]


def test_without_a_page_they_lie_in_a_file(monkeypatch, tmp_path, warnings_shown):
    monkeypatch.setattr(module, "_napari_page", lambda: None)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path))
    assert preferences() == Preferences()
    (tmp_path / "settings.json").write_text('{"samples": 12, "device": "abacus", "autosave_s": 0}')
    for _ in range(2):
        assert preferences() == Preferences(samples=12)
    assert [line.split("'")[1] for line in warnings_shown] == ["autosave_s", "device"]  # each once
    (tmp_path / "settings.json").write_text('{"samples": ')
    assert preferences() == Preferences()
    assert "cannot be read" in warnings_shown[-1]


def test_a_data_folder_in_the_file_keeps_the_other_preferences(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_napari_page", lambda: None)
    monkeypatch.setattr(module, "_settings_folder", None)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", "")  # restored after the test
    monkeypatch.delenv("NAPARI_LATENTSEG_HOME")
    monkeypatch.setattr("platformdirs.user_data_path", lambda *args, **kwargs: tmp_path / "default")
    (tmp_path / "default").mkdir()
    settings = {"data_folder": str(tmp_path / "other"), "samples": 12}
    (tmp_path / "default" / "settings.json").write_text(json.dumps(settings))
    module.use_data_folder()
    assert data_home() == tmp_path / "other"
    assert preferences().samples == 12


@pytest.mark.parametrize(
    ("written", "used", "said"),
    [
        ("~/segmentation", "segmentation", ""),
        ("segmentation", "default", "give its whole path"),
        ("{home}/file.txt", "default", "it is a file"),
    ],
)
def test_a_data_folder_is_meant_as_a_person_writes_it(
    monkeypatch, tmp_path, warnings_shown, written, used, said
):
    monkeypatch.setattr(module, "_napari_page", lambda: None)
    monkeypatch.setattr(module, "_settings_folder", None)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", "")  # restored after the test
    monkeypatch.delenv("NAPARI_LATENTSEG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_data_path", lambda *args, **kwargs: tmp_path / "default")
    (tmp_path / "default").mkdir()
    (tmp_path / "file.txt").write_text("no folder")
    settings = {"data_folder": written.format(home=tmp_path)}
    (tmp_path / "default" / "settings.json").write_text(json.dumps(settings))
    module.use_data_folder()
    assert data_home() == tmp_path / used
    assert said in "".join(warnings_shown)
    assert bool(said) == bool(warnings_shown)


def test_widgets_are_in_the_menus_and_what_only_napari_calls_is_not_in_the_palette(make_napari_viewer):
    make_napari_viewer()
    app = get_app_model()

    def titles(menu: str) -> list[str]:
        return [str(item.command.title) for item in app.menus.get_menu(menu) if hasattr(item, "command")]

    own = titles(f"napari/plugins/{PLUGIN}")
    assert "Segment (LatentSeg)" in own
    assert "Review (LatentSeg)" in own
    assert "Segment (LatentSeg)" in titles("napari/layers/segment")
    assert "Review (LatentSeg)" in titles("napari/layers/measure")
    offered = {
        command.id
        for command, *_ in [[item] for item in app.registered_actions.values()]
        if command.id.startswith(PLUGIN) and (command.enablement is None or command.enablement.eval({}))
    }
    assert f"{PLUGIN}.segment" in offered
    assert not {f"{PLUGIN}.{name}" for name in ("read", "write_image", "write_labels")} & offered
