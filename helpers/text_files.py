"""Reads text files and JSON files that people may have edited or programs may have damaged."""

import codecs
import json
from pathlib import Path
from typing import Any, TypeVar

from helpers.errors import InputError
from helpers.forms import leaves, misfit

FormT = TypeVar("FormT")


def read_text(path: str | Path, remedy: str) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in UTF-16 with one; lines end with "\\n".

    Args:
        remedy: what to do about a file that holds something else.

    Raises:
        InputError: no text, or in another encoding.
    """
    content = Path(path).read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8 (byte {error.start + 1}); {remedy}") from None
    if "\0" in text:
        raise InputError(f"{path} is not text: it holds null characters; {remedy}")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: str | Path, form: type[FormT], remedy: str) -> FormT:
    """The content of a JSON file.

    Args:
        form: its type, as `helpers.forms.misfit` takes it.
        remedy: what to do about a damaged file.

    Raises:
        InputError: no JSON, or of another form.
    """
    text = read_text(path, remedy)
    content: Any = None
    try:
        content = json.loads(text)
        for _ in leaves(content):  # raises ValueError for what nothing here writes
            pass
        reason = misfit(content, form, "its content")
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
    if reason:
        raise InputError(f"{path} is damaged ({reason}); {remedy}")
    return content
