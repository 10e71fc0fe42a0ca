"""What mkdocs calls while it builds the site: pages that are made, the order of all, and links to files of the repository."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from docs_site import claims, commands, reference, run_files, sources
from docs_site.links import LINK, rewritten, with_blank_lines

ROOT = Path(__file__).resolve().parents[1]
# Pages that lie elsewhere than in docs/, or under another name: the README is where the site begins.
MOVED = {
    "README.md": "index.md",
    "docs/index.md": "pages.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
SCRIPT = "iframe-worker.js"
LAST = {"Contributing": "contributing.md", "Changelog": "changelog.md"}


@cache
def made() -> dict[str, tuple[str, str]]:
    """Address -> (path in the repository, Markdown) of every page that is not simply one of docs/."""
    moved = {address: (path, (ROOT / path).read_text("utf-8")) for path, address in MOVED.items()}
    written = [*commands.pages(), ("claims.md", claims.page(ROOT)), *run_files.pages(ROOT), *reference.pages()]
    return moved | {address: (f"docs/{address}", text) for address, text in written}


@cache
def places() -> dict[str, str]:
    """Path in the repository -> address in the site, of every file that a page shows or is."""
    docs = ROOT / "docs"
    found = {f"docs/{one.relative_to(docs).as_posix()}": one.relative_to(docs).as_posix() for one in docs.rglob("*.*")}
    found |= {f"docs/{address}": address for address in made()} | MOVED
    folders = run_files.folders(ROOT)
    for address, files in folders.items():
        found[files[0].parent.relative_to(ROOT).as_posix()] = address
        found |= {file.relative_to(ROOT).as_posix(): f"{address}#{run_files.anchor(file)}" for file in files}
    found["launch/runs"] = next(iter(folders))
    return found | {path: sources.address(path) for path in shown()}


@cache
def shown() -> list[str]:
    """Files that pages written by hand link to, and that have no page otherwise."""
    known = {f"docs/{address}" for address in made()} | set(MOVED)
    known |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.*")}
    known |= {file.relative_to(ROOT).as_posix() for files in run_files.folders(ROOT).values() for file in files}
    known |= {files[0].parent.relative_to(ROOT).as_posix() for files in run_files.folders(ROOT).values()}
    written = [*MOVED, *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
    pages = ((path, (ROOT / path).read_text("utf-8")) for path in written)
    return sources.linked(pages, dict.fromkeys(known | {"launch/runs"}, ""), ROOT)


def on_config(config: Any) -> Any:
    """The order: the README, then docs/index.md section by section, then what is made."""
    text = (ROOT / "docs" / "index.md").read_text("utf-8")
    nav: list[Any] = [{"Start": "index.md"}, {"All pages": "pages.md"}]
    for part in re.split(r"(?m)^## ", text)[1:]:
        listed = [target for _, target, _ in LINK.findall(part) if target.endswith(".md") and "/" not in target]
        nav.append({part.partition("\n")[0]: [{short_title(page): page} for page in listed]})
    for title, folder in (("Every command", "commands"), ("Run files", "run_files"), ("Python reference", "reference")):
        pages = [address for address in made() if address.startswith(f"{folder}/")]
        nav.append({title: [{short_title(address): address} for address in pages]})
    config.nav = [*nav, {"Claims": "claims.md"}, *({title: page} for title, page in LAST.items())]
    return config


def short_title(address: str) -> str:
    """Of a page: its heading up to a colon or a comma."""
    text = made()[address][1] if address in made() else (ROOT / "docs" / address).read_text("utf-8")
    title = re.search(r"(?m)^# (.*)$", text)[1]
    title = re.split(r"[:,]", re.sub(r"^(?:Commands|Run files): ", "", title))[0].strip("`")
    return title[:1].upper() + title[1:]


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that are made, in place of docs/index.md, which has moved."""
    files.remove(files.get_file_from_path("index.md"))
    for address, (_, text) in made().items():
        files.append(File.generated(config, address, content=text))
    for path in shown():
        page = File.generated(config, sources.address(path), content=sources.page(path, ROOT))
        page.inclusion = page.inclusion.NOT_IN_NAV
        files.append(page)
    files.append(File.generated(config, SCRIPT, content=(ROOT / "docs_site" / SCRIPT).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links by the site's addresses, and lists that Python's Markdown sees."""
    address = page.file.src_uri
    origin = made()[address][0] if address in made() else f"docs/{address}"
    if address.startswith("source/"):
        return markdown
    return with_blank_lines(rewritten(markdown, origin, address, places()))
