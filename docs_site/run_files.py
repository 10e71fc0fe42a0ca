"""Pages of the files that a run is started with, out of their headers."""

import re
from collections.abc import Iterator
from pathlib import Path

from docs_site.text import block, folded, plain
from launch.common.header import header

# A file of JSON has no comments.
LANGUAGES = {".yaml": "yaml", ".json": "json", ".sbatch": "bash"}


def folders(root: Path) -> dict[str, list[Path]]:
    """Address of a page -> the files that it shows."""
    found = {f"run_files/{folder.name}.md": folder for folder in sorted((root / "launch" / "runs").iterdir())}
    found |= {f"run_files/{name}.md": root / "launch" / name for name in ("accelerate", "deepspeed", "slurm")}
    return {
        address: [file for file in sorted(folder.iterdir()) if file.suffix in LANGUAGES]
        for address, folder in found.items()
    }


def pages(root: Path) -> Iterator[tuple[str, str]]:
    """(address, Markdown) of every folder."""
    for address, files in folders(root).items():
        folder = files[0].parent.relative_to(root).as_posix()
        parts = [f"# Run files: {Path(address).stem}\n", f"Files of `{folder}`, by the headers that they begin with.\n"]
        yield address, "\n".join([*parts, *(section(file, root) for file in files)])


def section(file: Path, root: Path) -> str:
    """The header's fields, and the whole file behind a fold."""
    text = file.read_text(encoding="utf-8")
    parts = [f"## {file.name}\n"]
    for name, lines in header(text).items():
        first, *rest = lines
        if is_command("\n".join(lines)):
            parts += [f"**{name}**\n", block("\n".join(lines), "text")]
        else:
            parts.append(f"**{name}** {plain(' '.join([first, *rest]))}\n")
    parts.append(folded(file.relative_to(root).as_posix(), text, LANGUAGES[file.suffix]))
    return "\n".join(parts)


def is_command(text: str) -> bool:
    """Whether a field holds a line to type, which keeps its line ends."""
    return (
        re.search(r"(?m)^\s*(?:[A-Z_]+=\S+ )*(?:python|swift|accelerate|sbatch|bash|trl|ray|vllm) ", text) is not None
    )


def anchor(file: Path) -> str:
    """Of its section."""
    return re.sub(r"[^\w\- ]", "", file.name.lower()).replace(" ", "-")
