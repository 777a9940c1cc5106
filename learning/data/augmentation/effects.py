"""Random color effects of the augmentation sets: each draws its strength and returns a changed View.

Strengths that no source of the sets gives are the defaults of albumentations: brightness and contrast 0.2, HSV 20 of 180, 30 %
and 20 of 255, gamma 0.8 .. 1.2, sharpen alpha 0.2 .. 0.5 and lightness 0.5 .. 1, CLAHE's clip limit 1 .. 4 on 8x8 tiles, holes of
half a cell's side. Its HSV shift adds 30 of 255 to the saturation, which is about 30 % of that of a street; here it is a factor,
and the hue rotates in YIQ, so that both are part of one affine map.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from learning.data.augmentation.view import View

Effect = Callable[[np.random.Generator, View], View]


def _brightness_contrast(rng: np.random.Generator, view: View) -> View:
    gain = rng.uniform(0.8, 1.2)
    shift = rng.uniform(-0.2, 0.2)
    return replace(view, brightness=view.brightness * gain, shift=view.shift * gain + shift)


def _brightness(rng: np.random.Generator, view: View) -> View:
    return replace(view, shift=view.shift + rng.uniform(-0.2, 0.2))


def _hsv(rng: np.random.Generator, view: View) -> View:
    hue = rng.uniform(-20, 20) / 180
    saturation = rng.uniform(0.7, 1.3)
    shift = rng.uniform(-20, 20) / 255
    return replace(view, hue=view.hue + hue, saturation=view.saturation * saturation, shift=view.shift + shift)


def _gamma(rng: np.random.Generator, view: View) -> View:
    return replace(view, gamma=view.gamma * rng.uniform(0.8, 1.2))


def _noise(rng: np.random.Generator, view: View) -> View:
    return replace(view, noise=math.sqrt(rng.uniform(0, 25)) / 255, noise_seed=int(rng.integers(2**63)))


def _sharpen(rng: np.random.Generator, view: View) -> View:
    return replace(view, sharpen=rng.uniform(0.2, 0.5), lightness=rng.uniform(0.5, 1.0))


def _clahe(rng: np.random.Generator, view: View) -> View:
    return replace(view, clahe=rng.uniform(1, 4))


def _color_jitter(rng: np.random.Generator, view: View) -> View:
    return replace(
        view,
        brightness=view.brightness * rng.uniform(0.8, 1.2),
        contrast=view.contrast * rng.uniform(0.8, 1.2),
        saturation=view.saturation * rng.uniform(0.8, 1.2),
        hue=view.hue + rng.uniform(-0.2, 0.2),
    )


def _grid_dropout(rng: np.random.Generator, view: View) -> View:
    return replace(view, holes=(6, rng.random(), rng.random()))


EFFECTS: dict[str, Effect] = {
    "brightness_contrast": _brightness_contrast,
    "brightness": _brightness,
    "hsv": _hsv,
    "gamma": _gamma,
    "noise": _noise,
    "sharpen": _sharpen,
    "clahe": _clahe,
    "color_jitter": _color_jitter,
    "grid_dropout": _grid_dropout,
}
