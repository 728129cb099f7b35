"""nnU-Net's own 2D predictor in a Python of its own, for bench/speed.py: random weights, its own plan.

    NNUNET-PYTHON bench/speed_rows/nnunet_child.py VOLUME.npy THREADS FOLDER SLICES

Nothing of this package is imported. FOLDER takes nnU-Net's own files. The plan is what its default planner
makes of a data set whose volumes all have SLICES slices of the shape and spacing of these. A line of JSON
when it is ready, and one with the seconds after every line read.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

SPACING = (1.0, 0.7, 0.7)  # mm, z first
NAME = "Dataset001_Volume"


def prepare(folder: Path, shape: tuple[int, ...]) -> None:
    """What nnU-Net's planner reads: `dataset.json` and the fingerprint of the data set."""
    raw, preprocessed = folder / "raw" / NAME, folder / "preprocessed" / NAME
    raw.mkdir(parents=True)
    preprocessed.mkdir(parents=True)
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": 100,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
        "dataset": {"case": {"images": ["case_0000.nii.gz"], "label": "case.nii.gz"}},
    }
    values = {"mean": 500.0, "median": 500.0, "std": 800.0, "min": -1000.0, "max": 2000.0,
              "percentile_00_5": -990.0, "percentile_99_5": 1990.0}  # fmt: skip
    fingerprint = {
        "spacings": [SPACING],
        "shapes_after_crop": [shape],
        "foreground_intensity_properties_per_channel": {"0": values},
        "median_relative_size_after_cropping": 1.0,
    }
    (raw / "dataset.json").write_text(json.dumps(dataset), "utf-8")
    (preprocessed / "dataset.json").write_text(json.dumps(dataset), "utf-8")
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint), "utf-8")


def main() -> None:
    volume, threads, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    os.environ["nnUNet_def_n_proc"] = str(threads)  # noqa: SIM112, its own spelling

    import numpy as np
    import torch

    torch.set_num_threads(threads)
    image = np.load(volume).astype(np.float32)[None]
    prepare(folder, (int(sys.argv[4]), *image.shape[2:]))

    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(ExperimentPlanner(NAME).plan_experiment())
    configuration = plans.get_configuration("2d")
    dataset = json.loads((folder / "raw" / NAME / "dataset.json").read_text("utf-8"))
    torch.manual_seed(0)
    network = nnUNetTrainer.build_network_architecture(
        plans, configuration, 1, 2, enable_deep_supervision=False
    ).eval()
    # its defaults: steps of half a patch, Gaussian weights, mirroring along both axes
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    weights = network.state_dict()
    predictor.manual_initialization(
        network, plans, configuration, [weights], dataset, "nnUNetTrainer", (0, 1)
    )
    arguments = configuration.network_arch_init_kwargs
    print(flush=True)
    print(
        json.dumps(
            {
                "patch": [int(n) for n in configuration.patch_size],
                "features": list(arguments["features_per_stage"]),
                "parameters": sum(p.numel() for p in network.parameters()),
            }
        ),
        flush=True,
    )
    for _ in sys.stdin:
        begin = time.perf_counter()
        mask = predictor.predict_single_npy_array(image, {"spacing": list(SPACING)})
        seconds = time.perf_counter() - begin
        assert mask.shape == image.shape[1:], mask.shape
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(flush=True)
        print(json.dumps({"seconds": seconds, "peak": peak}), flush=True)


if __name__ == "__main__":
    main()
