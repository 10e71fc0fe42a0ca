"""A file of the pack with the places in it as they are on this machine, so that it works in any folder.

In the pack's own files, places are told from the root of a checkout (`swift_ext/plugins/modpo.py`). A copy has installed
paths instead, its own place in its launch line, and the lines that copy what else that line names.
"""

import re
import sys
from pathlib import Path

from launch.common.header import lines_of_header
from launch.common.installed import PACK, page
from launch.run_files.catalogue import RunFile, shipped

PLACE = re.compile(r"(?<![\w./])(?:launch|swift_ext)/[\w./-]*\w\.(?:yaml|jsonl?|sbatch|sh|py|txt)\b")
PAGE = re.compile(r"(?<![\w./-])docs/(\w+)\.md\b")
PROGRAM = re.compile(r"(?<![\w./-])\.venv(?:-trl)?/bin/(?=\w)")


def quoted(place: Path | str) -> str:
    """A place as YAML, a shell and a batch script read it alike.

    Raises:
        ValueError: its name has a sign that no quoting of all three keeps.
    """
    text = str(place)
    if re.fullmatch(r"[\w./+@=,-]+", text):
        return text
    if re.search(r"[\"'$`\\\n]", text):
        raise ValueError(f"{text!r} has a quote, a dollar or a backslash in it, which a run file cannot name")
    return f'"{text}"'


def resolved(file: RunFile, target: Path) -> str:
    """The text of a copy.

    Args:
        target: where the copy will lie, as its launch line is to name it.
    """
    text, beside = file.path.read_text(encoding="utf-8"), {}

    def place(found: re.Match) -> str:
        path = PACK / found[0]
        if path == file.path:
            return quoted(target)
        other = next((one for one in shipped().values() if one.path == path), None)
        if other is not None and needs_a_copy(other):
            beside[other.name] = target.parent / path.name
            return quoted(beside[other.name])
        return quoted(path) if path.is_file() else found[0]

    text = PROGRAM.sub(lambda _: f"{quoted(Path(sys.executable).parent)}/", PLACE.sub(place, text))
    text = PAGE.sub(lambda found: quoted(page(found[1])) if page(found[1]).is_file() else found[0], text)
    preset = f"--preset {file.path.stem}"  # of the pipeline, which reads the pack's own file and then the copy's values
    if file.path.parent.name == "modpo":
        text = text.replace(preset, f"{preset} --config {quoted(target)}")
    lines = text.splitlines(keepends=True)
    copies = [
        f"# {'Beside:' if not number else '       '}   python -m launch runs copy {name} --to {quoted(other)}\n"
        for number, (name, other) in enumerate(beside.items())
    ]
    end = lines_of_header(text)
    return "".join([*lines[:end], *copies, *lines[end:]])


def needs_a_copy(file: RunFile) -> bool:
    """Whether a file does not work from where it is installed: one to be edited, or one that names places."""
    lines = file.path.read_text(encoding="utf-8").splitlines()
    return file.of_a_run or any(
        sign.search(line) for line in lines if not line.startswith("# ") for sign in (PLACE, PROGRAM)
    )
