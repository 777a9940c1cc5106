"""An alias of `minicity.convert`, under its earlier name."""

import sys

from helpers.errors import exit_status
from minicity.convert import main

if __name__ == "__main__":
    sys.exit(exit_status("python -m minicity.convert", main, None))
