"""Results folders: predictions as label ids and in colour, replaced as a whole."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from helpers.images import colourise, read_image, write_png


@contextmanager
def replacing_folders(*folders):
    """Fill new folders, and let them take the places of old ones when all is done.

    The block writes into temporary folders. When it ends well they are renamed; what is no PNG in an old folder was put there
    by somebody else and is kept. When it fails the old folders stay as they are.

    Yields:
        list of Path: the temporary folders, in the order of `folders`.
    """
    folders = [Path(folder) for folder in folders]
    fresh = [folder.with_name(f".{folder.name}.partial") for folder in folders]
    for folder in fresh:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    try:
        yield fresh
        for new, old in zip(fresh, folders, strict=True):
            if old.is_dir():
                for path in old.iterdir():
                    if path.suffix != ".png":
                        os.replace(path, new / path.name)
                shutil.rmtree(old)
            os.replace(new, old)
    finally:
        for folder in fresh:
            shutil.rmtree(folder, ignore_errors=True)


def write_predictions(predictions, labels, ids, colours, report):
    """Write predictions as they come, in threads; at most a few wait in memory.

    Args:
        predictions: iterable of (Sample, uint8 (H, W) of train ids).
        labels: helpers.labels.LabelTable.
        ids: folder for NAME.png, label ids.
        colours: folder for NAME_prediction.png and NAME_input.png.
        report: called after each prediction.
    """

    def write(sample, prediction):
        write_png(ids / f"{sample.name}.png", labels.ids[prediction])
        write_png(colours / f"{sample.name}_prediction.png", colourise(prediction, labels.palette))
        write_png(colours / f"{sample.name}_input.png", read_image(sample.image).transpose(1, 2, 0), compress_level=1)

    with ThreadPoolExecutor(2) as threads:
        waiting = []
        for sample, prediction in predictions:
            waiting.append(threads.submit(write, sample, prediction))
            if len(waiting) > 8:
                waiting.pop(0).result()
            report()
        for job in waiting:
            job.result()
