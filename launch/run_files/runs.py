"""`python -m launch runs`: the files that a run is started with: run files, and those of accelerate, DeepSpeed and SLURM.

`list` prints what there is, `show` a file, `copy` writes it where you want to edit it. In what is shown and copied, plugins,
data and configurations stand with the paths where they are installed, so that it works in any folder.
"""

import re
import textwrap
from pathlib import Path

from datasets_builders.command_line import Parser
from datasets_builders.io import write_text
from launch.cli.verbs import verb_parser

ACTIONS = ("list", "show", "copy")


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("runs", __doc__)
    parser.add_argument("action", choices=ACTIONS, metavar="|".join(ACTIONS), help="what to do")
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="which file, as `list` prints it; for `list`, how its name begins"
    )
    parser.add_argument(
        "--to", type=Path, metavar="FILE", help="where `copy` writes it (default: its own name in this folder)"
    )
    return parser


def main(argv: list[str]) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.to is not None and args.action != "copy":
        parser.error(f"--to is for copy, not for {args.action}")
    if args.name is None and args.action != "list":
        parser.error(f"{args.action} needs the NAME of a file; `python -m launch runs list` prints all")
    print({"list": listed, "show": show, "copy": copy}[args.action](args.name or "", args.to))
    return 0


def listed(beginning: str, _: Path | None = None) -> str:
    """Name, method, upstream, purpose and hardware of every file whose name begins so.

    Raises:
        ValueError: there is none.
    """
    from launch.run_files.catalogue import find, shipped

    files = [one for one in shipped().values() if one.name.startswith(beginning)] or [find(beginning)]
    parts = []
    for one in files:
        method = "" if one.method == "any" else f"method {one.method}, "
        parts.append(f"{one.name}  ({method}upstream {one.upstream})")
        for text in (one.purpose, f"Hardware: {one.hardware}"):
            said = re.sub(r" \(docs/[^()]*\)", "", text)  # a copy names the page with its place
            parts.append(textwrap.fill(said, 110, initial_indent="    ", subsequent_indent="    "))
    return "\n".join([*parts, "", f"{len(files)} of {len(shipped())} files"])


def show(name: str, _: Path | None = None) -> str:
    """The text that `copy` would write into this folder."""
    from launch.run_files.catalogue import find
    from launch.run_files.places import resolved

    file = find(name)
    return resolved(file, Path(file.path.name)).rstrip("\n")


def copy(name: str, to: Path | None) -> str:
    """Writes the copy; returns where it is and how it is started.

    Raises:
        ValueError: an unknown name, or something is there already.
    """
    from launch.common.header import header
    from launch.run_files.catalogue import find
    from launch.run_files.places import resolved

    file = find(name)
    target = Path(file.path.name) if to is None else to / file.path.name if to.is_dir() else to
    if target.exists():
        raise ValueError(f"{target} is there already, and may be edited: choose another --to, or remove it first")
    text = resolved(file, target)
    write_text(target, text)
    fields = header(text)
    next_lines = [line for field in ("Beside", "Data", "Model", "Launch") for line in _said(field, fields.get(field))]
    return "\n".join([f"wrote {target}", *next_lines])


def _said(field: str, lines: list[str] | None) -> list[str]:
    return [f"{f'{field}:' if not number else '':9} {line}" for number, line in enumerate(lines or [])]
