"""Runs programs in forked processes that are killed before a change to the disk of a given number.

Started as a program, it imports what takes seconds once, and then runs a program for each line of its standard input.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")
SLOW_IMPORTS = ("torchvision", "matplotlib.pyplot", "learning.run.predict_command", "tools.average_weights")
SLOW_IMPORTS += ("tools.copypaste.making", "tools.samples.rows", "helpers.plots", "minicity.explore_plots")


class Killer:
    """A process that runs programs."""

    def __init__(self, root):
        words = [sys.executable, __file__, str(root)]
        self.process = subprocess.Popen(words, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, folder, module, words, number=0):
        """(status as a shell's, changes below `folder`) of a program that is killed before a change; 0 for none."""
        print(json.dumps([str(folder), module, words, int(number)]), file=self.process.stdin, flush=True)
        return tuple(json.loads(self.process.stdout.readline()))

    def end(self):
        self.process.communicate()


def run_counted(folder, module, words, number):
    """Status of a program, and the number of changes to the disk below a folder."""
    from helpers.errors import exit_status

    changes = 0

    def count(event, arguments):
        nonlocal changes
        is_change = event in CHANGES or (event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR))
        if is_change and str(arguments[0]).startswith(folder):
            changes += 1
            if changes == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    return exit_status(module, importlib.import_module(module).main, words), changes


def main():
    root = sys.argv[1]
    sys.path.insert(0, root)
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.dup2(2, 1)
            try:
                found = run_counted(*json.loads(line))
                sys.stdout.flush()
                os.write(writer, json.dumps(found).encode())
            except BaseException:
                traceback.print_exc()
            os._exit(0)
        os.close(writer)
        _, state = os.waitpid(child, 0)
        with os.fdopen(reader) as pipe:
            found = pipe.read()
        print(found or json.dumps([128 + os.WTERMSIG(state), 0]), flush=True)


if __name__ == "__main__":
    main()
