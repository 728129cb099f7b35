"""The classes of a training, from what a person or its folders say of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_latentseg.annotations.annotated_folder import read_annotated_folder
from napari_latentseg.data.label_names import LabelNames
from napari_latentseg.errors import BadInput
from napari_latentseg.training.card_config import CardConfig
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset_config import DatasetConfig
from napari_latentseg.training.datasets import AnnotatedDataset

__all__ = ["METHODS_OF_SEVERAL_CLASSES", "class_changes", "unannotated_classes", "without_classes"]

METHODS_OF_SEVERAL_CLASSES = ("gms", "guided", "prompted")
"""The methods whose settings have a number of classes."""

# distinct for people with colour blindness (Okabe and Ito); the first is that of a model of one class
_COLORS = ("#ffb000", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999")
_DEFAULT_CLASS_NAME = CardConfig().class_name


def class_changes(
    folders: Sequence[Path],
    config: TrainingConfig,
    class_names: Sequence[str] | None = None,
    label_names: LabelNames | None = None,
) -> dict[str, Any]:
    """Changes of a configuration that name its classes and say what the labels mean.

    Parameters
    ----------
    folders
        The data. Where nothing else names the classes, those that the folders name are taken.
    config
        What is trained; the classes that it names stay, unless a person names others.
    class_names
        As a person names them: labels 1, 2, ... in this order, unless `label_names` says otherwise.
    label_names
        What the labels mean, as a person says it.

    Returns
    -------
    dict
        For `with_changes`.

    Raises
    ------
    BadInput
        If a name is empty or there twice.
    """
    names = [name.strip() for name in class_names or ()]
    if class_names is not None and not all(names):
        raise BadInput("classes", "one has no name", "write NAME,NAME")
    if len(set(names)) < len(names):
        raise BadInput("classes", "a name is there twice", "give each class one name")
    is_unnamed = not config.classes and config.card.class_name == _DEFAULT_CLASS_NAME
    if not names and label_names is not None and is_unnamed:
        names = label_names.class_names
    if not names and label_names is None and is_unnamed:
        names = _names_of_folders(folders)
    changes: dict[str, Any] = {}
    if len(names) == 1:
        changes = {"classes": (), "card": config.card.model_dump() | {"class_name": names[0]}}
    elif names:
        colors = [_COLORS[i % len(_COLORS)] for i in range(len(names))]
        changes["classes"] = [{"name": n, "color": c} for n, c in zip(names, colors, strict=True)]
    if len(names) > 1 and config.method not in METHODS_OF_SEVERAL_CLASSES:
        methods = " or ".join(METHODS_OF_SEVERAL_CLASSES)
        remedy = f"choose the method {methods}, or take all labels as one class: --labels any=NAME"
        raise BadInput("classes", f"{', '.join(names)}: {config.method} segments one class", remedy)
    if len(names) > 1 or (names and "classes" in config.settings):
        changes["settings"] = config.settings | {"classes": len(names)}
    if label_names is not None:
        changes["datasets"] = {
            folder.absolute().name: _dataset_config(folder, config, label_names) for folder in folders
        }
    return changes


def unannotated_classes(datasets: Sequence[AnnotatedDataset]) -> list[str]:
    """The classes that none of the data sets of a training annotates, by name.

    A model would offer them without having seen any, and mark anything.
    """
    label_maps = [dataset.label_map for dataset in datasets]
    return [
        c.name
        for number, c in enumerate(label_maps[0].classes)
        if not any(label_map.annotated[number] for label_map in label_maps)
    ]


def without_classes(
    config: TrainingConfig, names: Sequence[str], datasets: Sequence[AnnotatedDataset]
) -> dict[str, Any]:
    """Changes of a configuration that leave classes out, and what it says of data sets that are not used.

    So each data set of a configuration for several can be trained on alone.

    Parameters
    ----------
    config
        Names the classes.
    names
        Which are left out.
    datasets
        All data sets of the training.

    Returns
    -------
    dict
        For `with_changes`.
    """
    kept = [c for c in config.classes if c.name not in names]
    changes: dict[str, Any] = {
        "classes": [
            c.model_dump() | {"includes": [name for name in c.includes if name not in names]} for c in kept
        ],
        "datasets": {d.name: config.datasets[d.name] for d in datasets if d.name in config.datasets},
    }
    if "classes" in config.settings:
        changes["settings"] = config.settings | {"classes": len(kept)}
    return changes


def _names_of_folders(folders: Sequence[Path]) -> list[str]:
    """The classes that the folders name, each once."""
    names: dict[str, None] = {}
    for folder in folders:
        if (label_names := read_annotated_folder(folder).label_names) is not None:
            names |= dict.fromkeys(label_names.class_names)
    return list(names)


def _dataset_config(folder: Path, config: TrainingConfig, label_names: LabelNames) -> dict[str, Any]:
    card = config.card
    default = DatasetConfig(name=card.data_name, licence=card.data_licence, reference=card.data_reference)
    return config.datasets.get(folder.absolute().name, default).model_dump() | {
        "labels": dict(label_names.by_label),
        "several_are_one_class": bool(label_names.any_name),
        "ignore_label": label_names.ignore_label,
    }
