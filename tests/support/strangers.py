"""Files that no program may touch, and files that no program may leave behind."""

import hashlib
import re

_LEFT = re.compile(r"\.partial|\.replaced-|\.writer-lock|\.writable|\.tmp$|^core\.")


class Strangers:
    """Files of somebody else in some folders, which are made; `assert_untouched` compares their hashes."""

    def __init__(self, *folders):
        self.hashes = {}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("notes.txt", ".hidden", "0001TP_mine.png.bak"):
                path = folder / name
                path.write_text(f"{path} belongs to somebody")
                self.watch(path)
            (folder / "drawer").mkdir(exist_ok=True)
            path = folder / "drawer" / "paper.md"
            path.write_text("in a drawer")
            self.watch(path)

    def watch(self, *paths):
        """Further files, or all files below a folder."""
        for path in paths:
            for file in [path] if path.is_file() else filter(lambda one: one.is_file(), path.rglob("*")):
                self.hashes[file] = _hash(file)

    def assert_untouched(self):
        lost = [str(path) for path in self.hashes if not path.is_file()]
        changed = [str(path) for path, digest in self.hashes.items() if path.is_file() and _hash(path) != digest]
        assert not lost, f"lost: {lost}"
        assert not changed, f"changed: {changed}"


def _hash(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def left_behind(*folders):
    """Temporary files and folders below some folders."""
    return sorted(str(path) for folder in folders for path in folder.rglob("*") if _LEFT.search(path.name))
