"""Measures the parts that need torch. The program imports this after the settings are checked."""

from pathlib import Path

import torch

from tools.benchmark import loading, prediction, training
from tools.benchmark.measure import JsonObject
from tools.benchmark.part import Measure, run_part
from tools.benchmark.settings import Settings

PARTS: dict[str, Measure] = {"train": training.run, "predict": prediction.run, "data": loading.run}


def run_torch_part(settings: Settings, folder: Path) -> JsonObject:
    """`tools.benchmark.part.run_part`, with the GPU and torch's own version."""
    record = run_part(settings, folder, PARTS[settings.part])
    if torch.cuda.is_available():
        record["hardware"]["gpu"] = torch.cuda.get_device_name()
    record["versions"]["torch"] = torch.__version__
    return record
