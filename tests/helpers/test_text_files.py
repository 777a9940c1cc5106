"""Text and JSON that people edited or programs damaged: read, or refused in one line."""

import json
from typing import Annotated, TypedDict

import pytest

from helpers.errors import InputError
from helpers.parsing import Range
from helpers.text_files import read_json, read_text


class Content(TypedDict):
    names: list[str]
    round: Annotated[int, Range("1 or more", at_least=1)]


GOOD = {"names": ["a", "Zürich"], "round": 2, "more": [None, True, 0.5]}
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_in_any_encoding_with_a_mark(tmp_path, encoding):
    (tmp_path / "a.json").write_text(json.dumps(GOOD, ensure_ascii=False), encoding=encoding)
    assert read_json(tmp_path / "a.json", Content, "fix it") == GOOD
    (tmp_path / "a.txt").write_bytes("Zürich\r\n1\r2".encode(encoding))
    assert read_text(tmp_path / "a.txt", "fix it") == "Zürich\n1\n2"


def test_a_file_name_that_is_not_utf_8_survives_json(tmp_path):
    content = GOOD | {"names": [b"Z\xfcrich".decode("utf-8", "surrogateescape")]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_json(tmp_path / "a.json", Content, "fix it") == content


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "5", '"text"', "{}", DEEP, '{"names": [], "round": ' + DEEP + "}", "\x00", "\xff"),
        *('{"names": [1], "round": 1}', '{"names": "a", "round": 1}', '{"names": {}, "round": 1}'),
        *('{"names": [], "round": 0}', '{"names": [], "round": true}', '{"names": [], "round": 1.5}'),
        *('{"names": [], "round": NaN}', '{"names": [], "round": Infinity}', '{"names": [], "round": "1"}'),
        '{"names": [], "round": ' + "9" * 400 + "}",
        '{"names": [], "round": ' + "9" * 10_000 + "}",
        '{"names": ["\\ud800"], "round": 1}',
        '{"names": ["a\\u0000"], "round": 1}',
        '{"names": [], "round": 1, "more": ' + "[" * 60 + "]" * 60 + "}",
    ],
)
def test_other_content_is_refused_in_one_line_with_file_and_remedy(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as error:
        read_json(tmp_path / "a.json", Content, "restore it")
    message = str(error.value)
    assert "a.json" in message
    assert message.endswith("; restore it")
    assert "\n" not in message
    assert len(message) < 300 + len(str(tmp_path))
