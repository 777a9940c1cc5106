"""An overview of what was pasted: boxes around objects, and a table of the classes."""

from collections.abc import Collection, Sequence

import numpy as np
from PIL import Image, ImageDraw


def boxed(image: np.ndarray, stamp: np.ndarray) -> np.ndarray:
    """Draw a yellow box around each object.

    Args:
        image: uint8 (H, W, 3).
        stamp: uint8 (H, W), as `tools.copypaste.making.stamped`.
    """
    drawn = Image.fromarray(image)
    draw = ImageDraw.Draw(drawn)
    for place in range(1, int(stamp.max()) + 1):
        rows, columns = np.nonzero(stamp == place)
        if len(rows):
            box = [columns.min() - 2, rows.min() - 2, columns.max() + 2, rows.max() + 2]
            draw.rectangle([int(edge) for edge in box], outline=(255, 255, 0), width=max(1, image.shape[1] // 400))
    return np.asarray(drawn)


def table(names: Sequence[str], classes: Collection[int], before: np.ndarray, after: np.ndarray) -> str:
    """Pixels of each class before and after, as text.

    Args:
        names: of all classes.
        classes: train ids of those that were pasted, which are marked.
        before, after: int64 (C,), pixels of the training images, without and with the new ones.
    """
    lines = [f"{'class':<17}{'pixels before':>15}{'%':>9}{'pixels after':>15}{'%':>9}"]
    shares = [100 * pixels / max(1, pixels.sum()) for pixels in (before, after)]
    for c, name in enumerate(names):
        mark = "* " if c in classes else "  "
        lines.append(f"{mark}{name:<15}{before[c]:>15}{shares[0][c]:>9.3f}{after[c]:>15}{shares[1][c]:>9.3f}")
    return "\n".join(lines)
