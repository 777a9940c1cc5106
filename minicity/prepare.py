"""The name that `python -m minicity.convert` had before; it still works."""

import sys

from helpers.errors import exit_status
from minicity.convert import main

if __name__ == "__main__":
    sys.exit(exit_status("python -m minicity.prepare", main, None))
