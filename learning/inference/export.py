"""A trained network as one file that runs without this program: torch.export's .pt2, or ONNX."""

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

OPSET = 18  # the first with antialiased resizing


class Standalone(nn.Module):
    """Pictures in, classes out: resizing and normalization are part of the network.

    Args:
        model: images (B, 3, h, w) -> {"out": logits (B, C, h, w)}, in evaluation mode.
        size: (h, w) at which the network sees a picture.
        mean, std: RGB mean and standard deviation, 0 .. 1.
    """

    def __init__(self, model, size, mean, std):
        super().__init__()
        self.model, self.size = model, tuple(size)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, pictures):
        """uint8 (B, 3, H, W), RGB -> uint8 (B, H, W), train ids"""
        seen = F.interpolate(pictures.float(), self.size, mode="bilinear", antialias=True)  # (B, 3, h, w)
        scores = self.model((seen - self.mean) / self.std)["out"]
        scores = F.interpolate(scores, pictures.shape[-2:], mode="bilinear", align_corners=False)
        return scores.argmax(1).to(torch.uint8)


def export(standalone, path):
    """Write a network to a file; pictures of any number and size can be given to it.

    Args:
        standalone: Standalone on the CPU.
        path: Path that ends with one of `helpers.standalone.FORMATS`.

    Returns:
        function of a uint8 (3, H, W) array that returns uint8 (H, W): the network as it was read back from the file.
    """
    example = (torch.zeros(2, 3, standalone.size[0] + 3, standalone.size[1] + 5, dtype=torch.uint8),)
    dimensions = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(standalone, example, dynamic_shapes=(dimensions,))
        if path.suffix == ".onnx":
            names = {"input_names": ["pictures"], "output_names": ["classes"]}
            torch.onnx.export(program, f=str(path), opset_version=OPSET, external_data=False, verbose=False, **names)
            return _onnx_runner(path)
        torch.export.save(program, path)
        read = torch.export.load(path).module()
    return lambda picture: read(torch.from_numpy(np.ascontiguousarray(picture))[None])[0].numpy()


def _onnx_runner(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda picture: session.run(None, {"pictures": np.ascontiguousarray(picture)[None]})[0][0]
