"""--predict --export: writes the network as a file that works without this program, and compares both on an image."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from helpers.errors import InputError
from helpers.images import read_image
from helpers.output import writing
from learning.data.augmentation import transforms
from learning.inference.export import Standalone, export
from learning.inference.predict import average_logits, to_classes, upsample_logits
from learning.run.build_data import RunData

LEAST_AGREEMENT = 0.99  # least share of pixels with the checkpoint's class for an exported network to be kept


def export_network(path: Path, network: torch.nn.Module, data: RunData, image: Path | None) -> None:
    """Write the network, and print how well it agrees with the checkpoint on an image.

    Args:
        network: with its trained weights.
        image: to compare on; None for the first of the data set.

    Raises:
        InputError: they agree on less than `LEAST_AGREEMENT` of the pixels; no file is left then.
    """
    if image is None:
        splits = data.dataset.splits
        image = (splits.get("val") or next(iter(splits.values())))[0].image
    pixels = read_image(image)
    model = copy.deepcopy(network).cpu().to(memory_format=torch.contiguous_format).eval()
    expected = _expected_classes(model, pixels, data)
    standalone = Standalone(model, data.test_size, data.loader.mean, data.loader.std).eval()
    with writing(path) as partial:
        agreement = float((export(standalone, partial)(pixels) == expected).mean())
        if agreement < LEAST_AGREEMENT:
            raise InputError(
                f"--export {path} was not kept: on {image} its class is the checkpoint's in only {100 * agreement:.3f} % of "
                f"the pixels, and {100 * LEAST_AGREEMENT:g} % are required; name a file of the other format, or another image "
                "with --input"
            )
    height, width = data.test_size
    size = path.stat().st_size / 1e6
    print(
        f"{path} ({size:.1f} MB): uint8 (B, 3, H, W) RGB -> uint8 (B, H, W), any B, H and W, resized to {height}x{width}"
    )
    print("classes: " + ", ".join(f"{index} {name}" for index, name in enumerate(data.dataset.labels.names)))
    print(f"checked on {image}: the class is the checkpoint's in {100 * agreement:.3f} % of {expected.size} pixels")


def _expected_classes(model: torch.nn.Module, pixels: np.ndarray, data: RunData) -> np.ndarray:
    """The classes that the checkpoint gives an image of exactly the test size, as the exported network does: (H, W)."""
    size = pixels.shape[1:]
    view = transforms.whole_view(size)
    resized, _ = transforms.view_sample(torch.tensor(pixels), None, view, data.test_size, data.loader.mean)
    batch, _ = transforms.color_and_normalize(resized[None], None, [view], data.loader.mean, data.loader.std)
    with torch.inference_mode():
        logits = upsample_logits(average_logits(model, batch)[0], size)
    return to_classes(logits).numpy()
