"""Standard output and error that print any text, whatever their encoding, and whose reader may leave."""

import errno
import io
import os
import sys
from typing import Any

# Control characters, which a terminal obeys and which end lines elsewhere; but not those that programs print themselves.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n\r"}
_CONTROL |= {0x2028: "\\u2028", 0x2029: "\\u2029"}


def escaped(text: str) -> str:
    """The text with escape sequences for line breaks and other characters that are not printable."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def make_safe() -> None:
    """Replace the process's own standard output and error by streams that neither odd names nor a lost reader break."""
    if sys.stdout is not None and sys.stdout is sys.__stdout__:
        sys.stdout = _stream(sys.stdout, _Output)
    if sys.stderr is not None and sys.stderr is sys.__stderr__:
        sys.stderr = _stream(sys.stderr, io.TextIOWrapper)


def _stream(stream: Any, kind: type[io.TextIOWrapper]) -> io.TextIOWrapper:
    stream.flush()
    raw = _Descriptor(stream.fileno(), "w", closefd=False)
    return kind(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Output(io.TextIOWrapper):
    """Text without control characters; each becomes an escape sequence."""

    def write(self, text: str, /) -> int:
        return super().write(text.translate(_CONTROL))


class _Descriptor(io.FileIO):
    """A file descriptor that drops what nobody reads any more, so that `program | head` finishes its work."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            name = os.path.realpath(f"/dev/fd/{self.fileno()}")
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # what is still buffered must not fail again when the process ends
            os.close(nowhere)
            if error.errno == errno.EPIPE or self.fileno() == 2:
                return len(data)
            error.filename = name
            raise
