"""Files of the repository that a page links to and no other page shows: each becomes a page of its own."""

import ast
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from docs_site.links import LINK, outside_code
from docs_site.text import block, code, plain

LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "bash", ".json": "json"}


def linked(pages: Iterable[tuple[str, str]], known: Mapping[str, str], root: Path) -> list[str]:
    """Paths that (path, Markdown) of pages link to, that are there, and that have no place in the site yet."""
    found: set[str] = set()
    for origin, text in pages:
        targets: list[str] = []
        outside_code(text, lambda line, into=targets: into.extend(one[2] for one in LINK.finditer(line)) or line)
        paths = (os.path.normpath(PurePosixPath(origin).parent / target.partition("#")[0]) for target in targets)
        found |= {path for path in paths if path not in known and not path.startswith("..") and (root / path).exists()}
    return sorted(found - {"."})


def address(path: str) -> str:
    """Of the page that shows a file or a folder."""
    return f"source/{path}.md"


def page(path: str, root: Path) -> str:
    """The file as it is; of a folder its files, each with the first sentence that it says of itself."""
    place = root / path
    if place.is_file():
        return f"# {path}\n\n{block(place.read_text(encoding='utf-8'), LANGUAGES.get(place.suffix, 'text'))}"
    lines = [f"- {code(file.name)}: {plain(said)}" for file, said in _said(place)]
    return f"# {path}\n\n" + "\n".join(lines) + "\n"


def _said(folder: Path) -> Iterator[tuple[Path, str]]:
    for file in sorted(folder.glob("*.py")):
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        yield file, text.partition("\n\n")[0]
