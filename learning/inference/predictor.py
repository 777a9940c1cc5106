"""Python API: load a trained run and predict images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypedDict

import numpy as np
import torch

from helpers import run_folder
from helpers.errors import InputError
from helpers.parsing import Range
from learning import checkpoint
from learning.data.augmentation import transforms
from learning.data.datasets import DATASETS
from learning.image_size import Size, fitted_size
from learning.inference.predict import MST_SCALES, average_logits, read_classes
from learning.models import MODELS, Architecture, build_model
from learning.models.norms import NORMS


class _TrainedOptions(TypedDict):
    """What is read of the options that a run was trained with."""

    dataset: str
    model: str
    norm: str
    test_size: list[Annotated[int, Range("64 .. 16384 pixels", at_least=64, at_most=16384)]]
    dataset_mean: list[Annotated[float, Range("0 .. 1", at_least=0, at_most=1)]]
    dataset_std: list[Annotated[float, Range("above 0, up to 1", above=0, at_most=1)]]


class Predictor:
    """A trained run that predicts single images. Use :func:`load_run` to create one from a run folder.

    Args:
        path (Path): Checkpoint or weights. The options of the run are read from it, or from ``options.json`` beside it.
        device (torch.device or str): Device on which the network runs.

    Attributes:
        labels (LabelTable): Class table. ``labels.names`` and ``labels.palette`` are indexed by train id.
        size (tuple of int): Height and width of ``--test_size``; see :meth:`input_size`.

    Raises:
        InputError: If the weights cannot be read or their options are missing or unknown.
    """

    def __init__(self, path: Path, device: torch.device | str) -> None:
        state = checkpoint.load_validated(path)
        stored = checkpoint.stored_options(state) or run_folder.read_options(path.parent / "options.json")
        if not stored:
            raise InputError(f"{path} does not contain the options of its run, and there is no options.json beside it")
        checkpoint.check_form(stored, _TrainedOptions, path)
        tables = {"dataset": DATASETS, "model": MODELS, "norm": NORMS}
        if any(stored.get(name) not in table for name, table in tables.items()):
            raise InputError(f"{path} was trained with a data set, model or norm that this version does not know")
        self.labels = DATASETS[stored["dataset"]].LABELS
        self.size: Size = tuple(stored["test_size"])
        self.mean = stored["dataset_mean"]
        self.std = stored["dataset_std"]
        if (len(self.size), len(self.mean), len(self.std)) != (2, 3, 3):
            raise InputError(
                f"{path} is damaged: the test_size, dataset_mean or dataset_std of its options is incomplete"
            )
        self.device = torch.device(device)
        model = build_model(Architecture.from_stored(stored, len(self.labels.classes)), seed=0)
        checkpoint.load_weights(model, state, path, {})
        self.model = model.eval().to(self.device)

    def input_size(self, image: np.ndarray) -> Size:
        """Height and width of the network input for an image: its own shape, at the area of ``size``.

        An image whose aspect ratio differs from that of ``size`` by at most 2 % gets exactly ``size``.

        Args:
            image (ndarray): Image of shape :math:`(3, H, W)`.
        """
        return fitted_size(image.shape[1:], self.size)

    def predict(self, image: np.ndarray, mst: bool = False) -> np.ndarray:
        """Predict the class of every pixel.

        Args:
            image (ndarray): RGB image of any size, uint8, shape :math:`(3, H, W)`, values in :math:`[0, 255]`, as returned by
                ``helpers.images.read_image``.
            mst (bool): If ``True``, average the logits over 8 scales, each with and without horizontal flip.
                Default: ``False``

        Returns:
            ndarray: Train ids, uint8, shape :math:`(H, W)`, values in :math:`[0, C - 1]`.
        """
        with torch.inference_mode():
            logits = self._logits(image, MST_SCALES if mst else (1.0,), mst)
            size = (logits.shape[1], logits.shape[2])
            return read_classes([logits], size, (image.shape[1], image.shape[2]))

    def probabilities(self, image: np.ndarray, scales: Sequence[float] = (1.0,), flip: bool = False) -> torch.Tensor:
        """Predict class probabilities at the size of the network input: the softmax of the averaged logits.

        Args:
            image (ndarray): RGB image of any size, uint8, shape :math:`(3, H, W)`, values in :math:`[0, 255]`.
            scales (sequence of float): Factors of the network input size whose logits are averaged. Default: ``(1.0,)``
            flip (bool): If ``True``, also average over the horizontally flipped image. Default: ``False``

        Returns:
            Tensor: float32, shape :math:`(C, h, w)` with ``(h, w) == input_size(image)``, values in :math:`[0, 1]`, on the
                device.
        """
        with torch.inference_mode():
            return self._logits(image, scales, flip).softmax(0)

    def _logits(self, image: np.ndarray, scales: Sequence[float], flip: bool) -> torch.Tensor:
        """float32 (C, h, w)."""
        view = transforms.whole_view(image.shape[1:])
        pixels, _ = transforms.view_sample(torch.tensor(image), None, view, self.input_size(image), self.mean)
        batch, _ = transforms.color_and_normalize(pixels[None].to(self.device), None, [view], self.mean, self.std)
        return average_logits(self.model, batch, scales, flip)[0]


def load_run(folder: str | Path, device: torch.device | str = "cpu") -> Predictor:
    """Load the best weights of a run, ready to predict.

    Args:
        folder (str or Path): Run folder, as given to ``--save_path``.
        device (torch.device or str): Device on which the network runs. Default: ``"cpu"``

    Raises:
        InputError: If there are no weights, or they cannot be read.

    Example::

        >>> from helpers.images import read_image
        >>> from learning.inference.predictor import load_run
        >>> run = load_run("baseline_run", device="cuda")
        >>> classes = run.predict(read_image("street.jpg"))  # uint8, (H, W)
        >>> run.labels.names[classes[0, 0]]
        'sky'
    """
    return Predictor(run_folder.RunFolder(Path(folder)).best, device)
