"""Gives the UNet an eighth of its channels, in the tests and in the processes that they start.

What most tests check does not depend on the size of the network, which decides how long they take. Python imports this module at
its start where the folder is in PYTHONPATH; `tests/conftest.py` sees to that. Nothing else is imported before the program asks.
"""

import importlib.abc
import importlib.machinery
import sys

MODULE = "learning.models.unet"
DIVISOR = 8


class Shrink(importlib.abc.MetaPathFinder):
    """Changes the default of `UNet`'s widths when its module is imported."""

    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            norm, widths = module.UNet.__init__.__defaults__
            module.UNet.__init__.__defaults__ = norm, tuple(width // DIVISOR for width in widths)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Shrink())
