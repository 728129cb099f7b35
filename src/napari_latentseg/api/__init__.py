"""The Python API: one function for each thing that the widgets and the command line do.

`inference` segments; `evaluation` scores and calibrates; `training` trains, `fine_tuning` fine-tunes;
`models` finds, loads, installs and exports models, `compiled_models` compiles them; `codecs` keeps their
codecs; `versions` decides on fine-tuned models; `results` writes results; `readers` compares masks of
several readers; `change` compares two dates; `mask_edits` corrects masks without a brush; `fit` tells
whether a model was made for an image; `batch` and `files` segment many; `cases` lists them for readers;
`archive` finds and stores series by DICOMweb.
Importing them loads neither torch nor Qt: a function imports what it needs when it is called, after the cheap
checks.
"""

from __future__ import annotations

from napari_latentseg.api.archive import find_in_archive, retrieve_from_archive, store_in_archive
from napari_latentseg.api.batch import batch
from napari_latentseg.api.cases import compare_readings, list_cases
from napari_latentseg.api.change import compare_dates
from napari_latentseg.api.click_evaluation import evaluate_clicks
from napari_latentseg.api.codecs import add_codec, check_codec, find_codec, list_codecs, remove_codec
from napari_latentseg.api.compiled_models import compile_model, load_compiled, needs_compiling
from napari_latentseg.api.consensus_export import export_consensus
from napari_latentseg.api.evaluation import calibrate, evaluate
from napari_latentseg.api.files import segment_files
from napari_latentseg.api.fine_tuning import finetune
from napari_latentseg.api.fit import check_fit
from napari_latentseg.api.inference import segment, start_run
from napari_latentseg.api.mask_edits import edit_mask
from napari_latentseg.api.members import train_members
from napari_latentseg.api.models import (
    export_model,
    install_model,
    list_methods,
    list_models,
    load_model,
    locate_model,
    plan_install,
    remove_model,
)
from napari_latentseg.api.readers import compare_readers, consensus, report_readers
from napari_latentseg.api.reconstruction import evaluate_reconstruction
from napari_latentseg.api.results import write_result
from napari_latentseg.api.training import train
from napari_latentseg.api.versions import (
    adopt_model,
    discard_model,
    free_model_name,
    list_candidates,
    model_history,
    revert_model,
)
from napari_latentseg.io import read_scan

__all__ = [
    "add_codec",
    "adopt_model",
    "batch",
    "calibrate",
    "check_codec",
    "check_fit",
    "compare_dates",
    "compare_readers",
    "compare_readings",
    "compile_model",
    "consensus",
    "discard_model",
    "edit_mask",
    "evaluate",
    "evaluate_clicks",
    "evaluate_reconstruction",
    "export_consensus",
    "export_model",
    "find_codec",
    "find_in_archive",
    "finetune",
    "free_model_name",
    "install_model",
    "list_candidates",
    "list_cases",
    "list_codecs",
    "list_methods",
    "list_models",
    "load_compiled",
    "load_model",
    "locate_model",
    "model_history",
    "needs_compiling",
    "plan_install",
    "read_scan",
    "remove_codec",
    "remove_model",
    "report_readers",
    "retrieve_from_archive",
    "revert_model",
    "segment",
    "segment_files",
    "start_run",
    "store_in_archive",
    "train",
    "train_members",
    "write_result",
]
