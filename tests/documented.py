"""The commands that are written down: those of pages, in blocks and in sentences, and of the headers of run files."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets_builders.__main__ import BUILDERS
from launch.cli.verbs import VERBS
from tests.conftest import REPOSITORY

MARK = "not run here"
# What a reader is told to fill in, where a parser wants a value of a certain kind.
FILLED = {
    "$RANK_OF_NODE": "0",
    "trl_ext.METHOD.script": "trl_ext.modpo.script",
    "RUN.yaml": "launch/runs/modpo_trl/smollm2.yaml",
    "run.yaml": "launch/runs/modpo_swift/one_gpu.yaml",
}
ENDS = {";", "&&", "||", "|", "&"}
PROGRAMS = "python|swift|accelerate|trl|torchrun|sbatch|bash|ray|megatron|vllm|pip|mkdir|for|done"
IN_HEADER = re.compile(rf"(?:.*\bor )?((?:[A-Z_]+=\S+ )*(?:(?:{PROGRAMS})\b(?! \d).*|\\))")
# Named verbs, or flags; `swift rlhf` alone is a program's name.
IN_SENTENCE = re.compile(
    r"`((?:[A-Z_]+=\S+ )*(?:python -m (?:launch|datasets_builders) [\w-]+|python benchmarks/\w+\.py|bash [^`\s]+"
    r"|python -m (?:pytest|tests\.\w+)|(?:swift|trl) \w+(?= .*--)|accelerate launch(?: --\w+)* -m [\w.]+)(?: [^`]*)?)`"
)
PLUGIN = re.compile(r"\$\(python -m swift_ext (\w+)\)")


@dataclass(frozen=True)
class Command:
    """One simple command.

    Attributes:
        file: where it stands, from the repository's root.
        line: its first line there.
        words: program and arguments; what stands for anything (`...`) is left out.
        environment: variables that are set before it.
        is_open: a reader has to add something (`...`), so that a flag it needs may be missing.
        marked: the page says that it was not run here.
    """

    file: str
    line: int
    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    is_open: bool = False
    marked: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def documented() -> list[Command]:
    """Every command of the pages and of the headers."""
    pages = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    headed = [
        path for folder in ("runs", "accelerate", "slurm") for path in (REPOSITORY / "launch" / folder).rglob("*.*")
    ]
    found = [command for path in pages for block in _blocks(path) for command in commands(_name(path), block)]
    found += [Command(f"{name} --help", 0, tuple(words)) for name, words in _examples()]
    return found + [command for path in sorted(headed) for command in commands(_name(path), _header(path))]


def commands(file: str, lines: list[tuple[int, str]]) -> Iterator[Command]:
    """The simple commands of (number, text) lines of a shell, once for every value of a loop around them."""
    loop: tuple[str, list[str]] | None = None
    for number, text in _joined(lines):
        plugins = [f"python -m swift_ext {name}" for name in PLUGIN.findall(text)]
        marked = MARK in text
        for one in plugins:
            yield Command(file, number, tuple(one.split()))
        for words in _simple(PLUGIN.sub(r"swift_ext/plugins/\1.py", text)):
            while words and words[0] in ("do", "done", "time", "wait"):
                loop = None if words[0] == "done" else loop
                words = words[1:]
            if words[:1] == ["for"]:
                loop = words[1], words[3:]
            elif words:
                name, values = loop or ("", [""])
                for value in values:
                    yield _command(file, number, [_expand(word, name, value) for word in words], marked)


def _command(file: str, line: int, words: list[str], marked: bool) -> Command:
    environment = {}
    while words and (found := re.fullmatch(r"(\w+)=(.*)", words[0])):
        environment[found[1]] = found[2]
        words = words[1:]
    kept = tuple(FILLED.get(word, word) for word in words if word != "...")
    return Command(file, line, kept, tuple(environment.items()), "..." in words, marked)


def _expand(word: str, name: str, value: str) -> str:
    return re.sub(rf"\$\{{{name}[^}}]*\}}|\${name}\b", value, word) if name else word


def _simple(text: str) -> Iterator[list[str]]:
    """The words of each command of a line, without comments and redirections."""
    reader = shlex.shlex(text, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    words: list[str] = []
    to_file = False
    for word in reader:
        if word in ENDS:
            yield words
            words = []
        elif word in (">", "<", ">>"):
            to_file = True
        elif to_file:
            to_file = False
        else:
            words.append(word)
    yield words


def _joined(lines: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Lines that go on behind a backslash or a pipe, as one, with the number of the first."""
    start, whole = None, ""
    for number, text in lines:
        start, whole = start or number, f"{whole} {text.strip()}".strip()
        if whole.endswith("\\"):
            whole = whole[:-1]
        elif not whole.endswith("|"):
            yield start, whole
            start, whole = None, ""
    if whole:
        yield start, whole


def _examples() -> Iterator[tuple[str, list[str]]]:
    """The examples of every `--help`."""
    for program, verbs in (("launch", VERBS), ("datasets_builders", BUILDERS)):
        for name, verb in verbs.items():
            words = [FILLED.get(word, word) for word in shlex.split(verb.example)]
            yield name, ["python", "-m", program, name, *words]


def _blocks(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Bash blocks of a page, and the commands within its sentences, to which a reader may have to add something."""
    fence, block = None, []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip().startswith("```"):
            if fence == "bash":
                yield block
            fence, block = (line.strip()[3:], []) if fence is None else (None, [])
        elif fence is None:
            yield from ([(number, f"{found[1]} ...")] for found in IN_SENTENCE.finditer(line))
        else:
            block.append((number, line))


def _header(path: Path) -> list[tuple[int, str]]:
    """The lines of a header that hold commands, and what they go on with; prose around a command is cut off."""
    found: list[tuple[int, str]] = []
    text = path.read_text("utf-8")
    mark = f"  # {MARK}" if MARK in re.match(r"(#.*\n)*", text)[0] else ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("#"):
            break
        line = re.sub(r"^#\s*(?:[A-Z]\w+:\s+)?", "", line)
        goes_on = bool(found) and found[-1][1].endswith("\\")
        if goes_on or (line := (IN_HEADER.fullmatch(line) or ["", ""])[1]):
            line = re.sub(r" +\(docs/.*", " ...", line)
            found.append((number, re.sub(r" +\(.*|, then .*", "", line)))
    return [(number, one if one.endswith("\\") else f"{one}{mark}") for number, one in found]


def _name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()
