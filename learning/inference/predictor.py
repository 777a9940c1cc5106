"""A trained run in a few lines of Python: load it, predict images."""

from pathlib import Path

import torch

from helpers import run_folder
from helpers.errors import InputError
from learning import checkpoint
from learning.data.augmentation import transforms
from learning.data.datasets import DATASETS
from learning.inference.predict import MST_SCALES, image_scores, read_classes
from learning.models import MODELS, Architecture, build_model
from learning.models.norms import NORMS


class Predictor:
    """A trained run that predicts single images; see `load_run`.

    Args:
        path: Path of the weights.
        device: torch device, or its name.
    """

    def __init__(self, path, device):
        state = checkpoint.load_validated(path)
        stored = state.get("options") or run_folder.read_options(path.parent / "options.json")
        if not stored:
            raise InputError(
                f"{path} does not say with which options it was trained, and there is no options.json beside it"
            )
        if (
            stored.get("dataset") not in DATASETS
            or stored.get("model") not in MODELS
            or stored.get("norm") not in NORMS
        ):
            raise InputError(f"{path} was trained with a data set, model or norm that this version does not know")
        self.labels = DATASETS[stored["dataset"]].LABELS
        self.size, self.mean, self.std = stored["test_size"], stored["dataset_mean"], stored["dataset_std"]
        self.device = torch.device(device)
        model = build_model(Architecture.from_stored(stored, len(self.labels.classes)), seed=0)
        checkpoint.load_weights(model, state, path, {})
        self.model = model.eval().to(self.device)

    def predict(self, image, mst=False):
        """Classes of an image of any size.

        Args:
            image: uint8 (3, H, W), RGB, as `helpers.images.read_image` returns it.
            mst: 8 scales and mirror images instead of one.

        Returns:
            uint8 (H, W): train ids, which index `labels.names` and `labels.palette`.
        """
        with torch.inference_mode():
            scores = self._scores(image, MST_SCALES if mst else (1.0,), mst)
            return read_classes([scores], scores.shape[1:], image.shape[1:])

    def probabilities(self, image, scales=(1.0,), mirror=False):
        """Class probabilities of an image at the size at which the network sees it: softmax of the mean of the logits.

        Args:
            image: uint8 (3, H, W), RGB, any size.
            scales, mirror: as for `learning.inference.predict.image_scores`.

        Returns:
            float32 (C, h, w) on the device.
        """
        with torch.inference_mode():
            return self._scores(image, scales, mirror).softmax(0)

    def _scores(self, image, scales, mirror):
        view = transforms.whole_view(image.shape[1:])
        pixels, _ = transforms.view_sample(torch.tensor(image), None, view, self.size, self.mean)
        batch, _ = transforms.color_and_normalize(pixels[None].to(self.device), None, [view], self.mean, self.std)
        return image_scores(self.model, batch, scales, mirror)[0]


def load_run(folder, device="cpu"):
    """The best weights of a run, ready to predict.

    Returns:
        Predictor

    Raises:
        InputError: there are no such weights, or they cannot be read.
    """
    return Predictor(run_folder.RunFolder(Path(folder)).best, device)
