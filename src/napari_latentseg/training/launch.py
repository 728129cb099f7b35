"""The settings of a launcher, `accelerate launch` or `torchrun`, for a training, and contradictions to them.

Reads environment variables alone, so that the command line can ask before torch is loaded.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from napari_latentseg.errors import BadInput
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.utils.launcher import (
    is_launched_on_cpu,
    is_true,
    local_process_count,
    process_count,
)

__all__ = ["LaunchRequest", "check_device", "check_threads", "read_launch_request"]

_PRECISION = "ACCELERATE_MIXED_PRECISION"
_UNSUPPORTED = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
}


@dataclass(frozen=True)
class LaunchRequest:
    """What the configuration of the launcher asks for.

    Attributes
    ----------
    precision
        ``"bfloat16"``, or None where it leaves the precision to the training's configuration.
    accumulate
        Batches whose gradients are accumulated for one step; None where it does not say.
    """

    precision: str | None = None
    accumulate: int | None = None

    def applied_to(self, config: TrainingConfig) -> TrainingConfig:
        """The configuration as the launcher changes it.

        Raises
        ------
        BadInput
            If both ask for gradient accumulation, over different numbers of batches.
        """
        changes: dict[str, object] = {}
        if self.precision is not None:
            changes["precision"] = self.precision
        if self.accumulate is not None:
            if config.accumulate not in (1, self.accumulate):
                raise BadInput(
                    "accumulate",
                    f"is {config.accumulate}, but the launcher asks for {self.accumulate}",
                    "leave one of them out",
                )
            changes["accumulate"] = self.accumulate
        return config.replace(**changes)


def read_launch_request() -> LaunchRequest:
    """What the launcher asks for.

    Raises
    ------
    BadInput
        If it asks for something that a training here does not do.
    """
    for variable, name in _UNSUPPORTED.items():
        if is_true(variable):
            remedy = "launch without it: every process holds the whole network"
            raise BadInput("accelerate", f"is configured for {name}, which is not supported", remedy)
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() != "no":
        raise BadInput(
            "accelerate",
            "is configured for dynamo, which is not supported",
            "launch with --dynamo_backend no",
        )
    mixed_precision = os.environ.get(_PRECISION, "no").lower()
    if mixed_precision not in ("no", "bf16"):
        remedy = "launch with --mixed_precision bf16 or no"
        raise BadInput("accelerate", f"asks for {mixed_precision} arithmetic", remedy)
    if _PRECISION in os.environ and "MASTER_ADDR" in os.environ and process_count() == 1:
        # what accelerate does on CPUs without MPI; one process alone would go unnoticed
        raise BadInput(
            "accelerate launch",
            "has started one process of those that were asked for",
            "on CPUs, launch with --multi_gpu or with torchrun; for one process, unset MASTER_ADDR",
        )
    steps = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "")
    if steps and not (steps.isdecimal() and int(steps)):
        raise BadInput("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", f"is {steps!r}", "give a number from 1")
    return LaunchRequest("bfloat16" if mixed_precision == "bf16" else None, int(steps) if steps else None)


def check_device(device: str) -> None:
    """Refuse a device that contradicts the launcher.

    Raises
    ------
    BadInput
        If it is one GPU for several processes, or a GPU where the launcher was told to use the CPU.
    """
    if process_count() > 1 and (":" in device or device == "mps"):
        remedy = "leave the device out: each process takes a GPU of its own"
        raise BadInput("device", f"is {device} for all of {process_count()} processes", remedy)
    if is_launched_on_cpu() and device not in ("auto", "cpu"):
        raise BadInput(
            "device", f"is {device}, but accelerate is launched with --cpu", "leave one of them out"
        )


def check_threads(count: int | None) -> None:
    """Refuse more threads than processors, where several processes share them.

    Parameters
    ----------
    count
        Threads of each process; None for those that the launcher sets.

    Raises
    ------
    BadInput
        If the processes on this machine would have more threads than it has processors.
    """
    processes, processors = local_process_count(), os.cpu_count() or 1
    if count is not None and processes > 1 and count * processes > processors:
        raise BadInput(
            "--threads",
            f"is {count} for each of {processes} processes, but there are {processors} processors",
            f"use at most {max(1, processors // processes)}",
        )
