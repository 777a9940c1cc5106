"""Curves as SVG inside a page, in the page's own colors, light or dark."""

import math
from html import escape

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 420, 220, 46, 12, 12, 34


def svg(title, epochs, series, top=None):
    """A line chart over epochs.

    Args:
        title: str, for those who cannot see it.
        epochs: list of float, at least 1.
        series: dict of name -> list of float; nan leaves a gap. The lines get the classes line-0, line-1, ...
        top: upper end of the axis; None is the largest value.

    Returns:
        str: an <svg> element.
    """
    known = [value for values in series.values() for value in values if math.isfinite(value)]
    ticks = _ticks(0, top or max(known, default=1) or 1)
    high = top or ticks[-1]
    first, last = min(epochs), max(max(epochs), min(epochs) + 1)

    def x(epoch):
        return _LEFT + (epoch - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(value):
        return _TOP + (1 - value / high) * (_HEIGHT - _TOP - _BOTTOM)

    bottom = _HEIGHT - _BOTTOM
    parts = [f'<svg class="curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for value in ticks:
        parts.append(f'<path class="grid" d="M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for epoch in _ticks(first, last):
        if epoch == int(epoch) and epoch <= last:
            parts.append(f'<text x="{x(epoch):.1f}" y="{bottom + 16}" text-anchor="middle">{epoch:g}</text>')
    parts.append(f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 3}" text-anchor="middle">epoch</text>')
    for index, (name, values) in enumerate(series.items()):
        points = [(x(epoch), y(min(value, high))) for epoch, value in zip(epochs, values, strict=True)]
        parts.append(f'<path class="line line-{index}" d="{_path(points)}"><title>{escape(name)}</title></path>')
    return "".join(parts) + "</svg>"


def _path(points):
    words, pen = [], "M"
    for x, y in points:
        if math.isfinite(y):
            # h0 makes a point that stands alone a dot, by its round ends.
            words.append(f"M{x:.1f} {y:.1f}h0" if pen == "M" else f"L{x:.1f} {y:.1f}")
        pen = "L" if math.isfinite(y) else "M"
    return "".join(words)


def _ticks(low, high, number=5):
    """list of float: round numbers from `low` to at least `high`."""
    step = (high - low) / number
    power = 10.0 ** math.floor(math.log10(step))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))
    start = math.floor(low / step)
    return [round(index * step, 10) for index in range(start, math.ceil(high / step - 1e-9) + 1) if index * step >= low]
