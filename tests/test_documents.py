"""Documents agree with the code: links, commands, options, modules and files that they name exist."""

import ast
import contextlib
import functools
import importlib
import importlib.util
import io
import re
import shlex
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

import evaluate
import options
from learning.run.command_line import parse

ROOT = Path(options.__file__).parent
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "minicity/*.md", "recipes/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
)
PLACEHOLDERS = ("tools.NAME", "X")
OTHER_MODULES = ("pytest", "venv", "pip")
# These programs pass options on to baseline.py, or ignore them with a note.
TAKE_BASELINE_OPTIONS = ("evaluate", "tools.ablate", "tools.entry", "tools.samples")


def read(document):
    """Text of a document, without the code that CONTRIBUTING.md adds to the project."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.sub(r"```python\n# \S+\.py\n.*?```", "", text, flags=re.DOTALL)


def fenced_blocks(text):
    return re.findall(r"^```.*?^```$", text, re.DOTALL | re.MULTILINE)


def command_lines(document):
    """Arguments of each command in the fenced blocks and inline code of a document; shell variables are left out."""
    text = read(document)
    lines = [line for block in fenced_blocks(text) for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`((?:python|torchrun) [^`]+)`", text)
    for line in lines:
        line = re.sub(r"^\s*([A-Z_]+=\S+ )*", "", line)  # without variables of the environment
        if line.startswith(("python ", "torchrun ")):
            yield [word for word in shlex.split(line, comments=True) if not word.startswith("$")]


def commands_of(program):
    """(document, arguments) of each command that starts a program, such as baseline.py."""
    for document in DOCUMENTS:
        for argv in command_lines(document):
            if program in argv[1:]:
                yield document, argv[argv.index(program) + 1 :]


@functools.cache
def option_strings(program):
    """Options of a program, from its --help; baseline.py's from its parser, whose help leaves out negations."""
    if program == "baseline":
        return frozenset(options.parser()._option_string_actions)
    if program == "torchrun":
        return frozenset(get_args_parser()._option_string_actions)
    module = importlib.import_module(program)
    if not hasattr(module, "main"):
        module = importlib.import_module(f"{program}.__main__")
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
        module.main(["--help"])
    lines = re.findall(r"^ {2}(-.*?)(?: {2}|$)", shown.getvalue(), re.MULTILINE)
    found = frozenset(re.findall(r"--[\w-]+", " ".join(lines)))
    assert "--help" in found, shown.getvalue()
    return found


def programs():
    """Modules in tools/ and minicity/ that are programs, and evaluate."""
    names = ["evaluate"]
    for folder in ("tools", "minicity"):
        for path in sorted((ROOT / folder).glob("**/*.py")):
            if 'if __name__ == "__main__":' in path.read_text():
                names.append(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__"))
    return names


def anchors(document):
    """Anchors of the headings of a document, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", read(document), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_images_exist(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", read(document)):
        if re.match(r"[a-z]+://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (ROOT / document).parent / path if path else ROOT / document
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.resolve().relative_to(ROOT.resolve())), target


def test_pages_are_in_both_indexes():
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    for document, prefix in (("README.md", "docs/"), ("README.ko.md", "docs/"), ("docs/README.md", "")):
        for page in pages:
            assert f"]({prefix}{page})" in read(document), f"{document} does not link {page}"


def test_readme_has_at_most_200_lines():
    for document in ("README.md", "README.ko.md"):
        assert len(read(document).splitlines()) <= 200, document


def test_korean_readme_has_the_same_commands():
    english, korean = read("README.md"), read("README.ko.md")
    assert fenced_blocks(korean) == fenced_blocks(english)
    # Beside the blocks: commands and options in tables.
    in_line = [re.findall(r"`([^`\n]*--[^`\n]*)`", text) for text in (korean, english)]
    assert in_line[0] == in_line[1]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_modules_after_m_exist(document):
    for name in re.findall(r"(?<![\w-])-m ([\w.]+)", read(document)):
        if name not in (*PLACEHOLDERS, *OTHER_MODULES):
            assert name in programs(), f"{document} names {name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_options_exist(document):
    """In running text and tables, an option of any program."""
    known = option_strings("baseline") | option_strings("torchrun")
    known = known.union(*(option_strings(program) for program in programs()))
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", read(document)))
    assert not named - known


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_have_options_of_their_program(document):
    for argv in command_lines(document):
        if argv[0] == "torchrun":
            program = "torchrun"
            argv = argv[: argv.index("baseline.py")] if "baseline.py" in argv else argv
        elif argv[1] == "-m":
            program = argv[2]
        else:
            program = argv[1].removesuffix(".py")
        if program in (*PLACEHOLDERS, *OTHER_MODULES):
            continue
        known = option_strings(program)
        if program in TAKE_BASELINE_OPTIONS:
            known |= option_strings("baseline")
        named = {part.partition("=")[0] for word in argv for part in word.split() if part.startswith("--")}
        assert not named - known, shlex.join(argv)


def test_commands_of_baseline_parse(monkeypatch):
    """Values and combinations are those that baseline.py accepts; nothing is run."""
    monkeypatch.chdir(ROOT)  # where @recipes/ is
    parsed = set()
    for document, argv in commands_of("baseline.py"):
        if "--help" not in argv:
            parse(argv)
            parsed.add(document)
    assert {"README.md", "README.ko.md", "docs/training.md", "docs/prediction.md", "docs/gpus.md"} <= parsed


def test_commands_of_evaluate_parse(capsys):
    for _, argv in commands_of("evaluate.py"):
        evaluate.parse(argv)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_examples_import_names_that_exist(document):
    for block in re.findall(r"```python\n(.*?)```", read(document), re.DOTALL):
        for node in ast.parse(block).body:
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), node.module


@pytest.mark.parametrize("document", sorted({*DOCUMENTS} - {"CHANGELOG.md"}))
def test_files_of_the_code_exist(document):
    """Paths in inline code, such as `learning/losses`."""
    tops = "docs|helpers|learning|minicity|recipes|tests|tools"
    for path in re.findall(rf"`((?:{tops})/[\w./-]*\w)`", read(document)):
        assert (ROOT / path).exists(), path


def test_new_import_paths_in_the_changelog_exist():
    rows = re.findall(r"^\| `[\w.]+` \| `((?:helpers|learning)\.[\w.]+)` \|$", read("CHANGELOG.md"), re.MULTILINE)
    assert len(rows) > 30
    for name in rows:
        package, _, last = name.rpartition(".")
        module = importlib.import_module(package)
        assert hasattr(module, last) or importlib.util.find_spec(name), name
