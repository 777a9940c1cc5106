"""Line charts as SVG elements in the colors of the page, light or dark."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

_WIDTH = 420
_HEIGHT = 220
_LEFT = 46
_RIGHT = 12
_TOP = 12
_BOTTOM = 34


def line_chart(
    title: str, epochs: Sequence[float], series: Mapping[str, Sequence[float]], top: float | None = None
) -> str:
    """A line chart over at least one epoch, as an <svg> element.

    Args:
        title: for screen readers.
        series: NaN leaves a gap. The lines get the classes line-0, line-1, ...
        top: upper end of the vertical axis; None is the largest value.
    """
    finite = [value for values in series.values() for value in values if math.isfinite(value)]
    ticks = _ticks(0, top or max(finite, default=1) or 1)
    high = top or ticks[-1]
    first = min(epochs)
    last = max(max(epochs), first + 1)

    def x(epoch: float) -> float:
        return _LEFT + (epoch - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
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


def _path(points: Iterable[tuple[float, float]]) -> str:
    """Path data of a line that is interrupted where y is NaN."""
    commands = []
    command = "M"
    for x, y in points:
        if not math.isfinite(y):
            command = "M"
            continue
        # h0 makes an isolated point a dot, by its round line caps.
        commands.append(f"M{x:.1f} {y:.1f}h0" if command == "M" else f"L{x:.1f} {y:.1f}")
        command = "L"
    return "".join(commands)


def _ticks(low: float, high: float, number: int = 5) -> list[float]:
    """Round numbers from `low` to at least `high`."""
    step = (high - low) / number
    power = 10.0 ** math.floor(math.log10(step))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))
    start = math.floor(low / step)
    return [round(index * step, 10) for index in range(start, math.ceil(high / step - 1e-9) + 1) if index * step >= low]
