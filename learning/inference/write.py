"""Write predictions as label ids, in color and over the image, while the next ones are computed."""

from concurrent.futures import ThreadPoolExecutor

from helpers.images import colorize, overlay, read_image, write_png
from helpers.output import writing
from learning.inference.inputs import result_files

_WAITING = 2**24  # pixels of predictions that may wait to be written while the next ones are computed


def write_predictions(predictions, labels, ids, colors, report):
    """Write predictions of samples as they come.

    Args:
        predictions: iterable of (Sample, uint8 (H, W) of train ids).
        labels: helpers.labels.LabelTable.
        ids: folder for NAME.png, label ids.
        colors: folder for NAME_prediction.png and NAME_input.png.
        report: called after each prediction.
    """

    def write(sample, prediction):
        write_png(ids / f"{sample.name}.png", labels.ids[prediction])
        write_png(colors / f"{sample.name}_prediction.png", colorize(prediction, labels.palette))
        write_png(colors / f"{sample.name}_input.png", read_image(sample.image).transpose(1, 2, 0), compress_level=1)

    _in_threads(write, predictions, report)


def write_picture_predictions(predictions, labels, folder):
    """Write predictions of pictures as they come, each file whole or not at all.

    Args:
        predictions: iterable of (learning.inference.batches.Loaded, uint8 (H, W) of train ids).
        labels: helpers.labels.LabelTable.
        folder: Path, for what `learning.inference.inputs.result_files` names: label ids, colors, colors over the picture.
    """

    def write(loaded, prediction):
        ids, colored, over = (folder / name for name in result_files(loaded.picture.name))
        _write_whole(ids, labels.ids[prediction], 6)
        colors = colorize(prediction, labels.palette)
        _write_whole(colored, colors, 6)
        _write_whole(over, overlay(loaded.pixels.transpose(1, 2, 0), colors), 1)

    _in_threads(write, predictions, lambda: None)


def _write_whole(path, pixels, compress_level):
    with writing(path) as fresh:
        write_png(fresh, pixels, compress_level)


def _in_threads(write, predictions, report):
    """Call `write` with each of the predictions, in threads; at most a few wait in memory."""
    with ThreadPoolExecutor(2) as threads:
        waiting = []
        for sample, prediction in predictions:
            waiting.append((prediction.size, threads.submit(write, sample, prediction)))
            while len(waiting) > 8 or sum(size for size, _ in waiting) > max(_WAITING, waiting[-1][0]):
                waiting.pop(0)[1].result()
            report()
        for _, job in waiting:
            job.result()
