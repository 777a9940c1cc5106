"""Export a trained network to a single file that runs without this program: .pt2 (torch.export) or ONNX."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

OPSET = 18  # the first with antialiased resizing


class Standalone(nn.Module):
    """A network with resizing and normalization included: from images of any size to classes.

    Args:
        model (nn.Module): Maps images :math:`(B, 3, h, w)` to ``{"out": logits}`` of shape :math:`(B, C, h, w)`; in
            evaluation mode.
        size (tuple of int): Height and width :math:`(h, w)` of the network input.
        mean, std (sequence of float): RGB mean and standard deviation of the data set, in :math:`[0, 1]`.

    Shape:
        - Input: RGB images, uint8, :math:`(B, 3, H, W)`.
        - Output: Train ids, uint8, :math:`(B, H, W)`.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: nn.Module, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.size = tuple(size)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        resized = F.interpolate(images.float(), self.size, mode="bilinear", antialias=True)  # (B, 3, h, w)
        logits = self.model((resized - self.mean) / self.std)["out"]
        logits = F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)
        return logits.argmax(1).to(torch.uint8)


def export(standalone: Standalone, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Write a network to a file that accepts batches of any number of images of any size.

    Args:
        standalone: on the CPU.
        path: ends with one of `helpers.standalone.FORMATS`.

    Returns:
        The network as loaded from the file: an image uint8 (3, H, W) -> classes uint8 (H, W).
    """
    height, width = standalone.size
    example = torch.zeros(2, 3, height + 3, width + 5, dtype=torch.uint8)  # sizes that differ from each other
    dimensions = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(standalone, (example,), dynamic_shapes=(dimensions,))
        if path.suffix == ".onnx":
            return _export_onnx(program, path)
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
    return lambda image: loaded(torch.from_numpy(np.ascontiguousarray(image))[None])[0].numpy()


def _export_onnx(program: torch.export.ExportedProgram, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime  # pyrefly: ignore[missing-import]  (an optional extra)

    torch.onnx.export(
        program,
        f=str(path),
        opset_version=OPSET,
        external_data=False,
        verbose=False,
        input_names=["pictures"],
        output_names=["classes"],
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"pictures": np.ascontiguousarray(image)[None]})[0][0]
