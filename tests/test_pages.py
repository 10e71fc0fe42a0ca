"""The pages of docs/: each is in the index, every link leads somewhere, and the tables hold what the code holds."""

import re
from pathlib import Path

import pytest

from datasets_builders.__main__ import BUILDERS
from datasets_builders.command_line import OLD_NAMES
from launch.cli.verbs import OLD_VERBS, VERBS
from launch.doctor.seam_table import SEAMS
from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
LINK = re.compile(r"\]\(([^()\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(page: str) -> list[list[str]]:
    """The cells of every line of a table."""
    lines = (DOCS / page).read_text("utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for link in LINK.findall(page.read_text("utf-8")):
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_names_every_page():
    linked = set(LINK.findall((DOCS / "index.md").read_text("utf-8")))
    pages = [*DOCS.glob("*.md"), *DOCS.glob("notebooks/*.ipynb")]
    assert linked - {"../README.md"} == {page.relative_to(DOCS).as_posix() for page in pages} - {"index.md"}


def test_the_page_of_verbs_has_every_verb_once():
    verbs = [row[0].strip("`") for row in rows("verbs.md") if len(row) == 4 and row[2] in ("A", "B", "both")]
    assert sorted(verbs) == sorted(VERBS)
    builders = [row[0].strip("`") for row in rows("verbs.md") if row[0].strip("`") in BUILDERS]
    assert sorted(builders) == sorted(BUILDERS)


def test_the_page_of_verbs_has_every_old_name_beside_its_new_one():
    found = {}
    for row in rows("verbs.md"):
        old, new = (re.findall(r"`([\w-]+)", cell) for cell in row[:2])
        found |= dict(zip(old, new if len(new) == len(old) else new[:1] * len(old), strict=True)) if new else {}
    assert (OLD_NAMES | OLD_VERBS).items() <= found.items()


def test_the_page_of_outputs_names_every_verb_that_writes_and_no_other():
    known = set(VERBS)
    writes_nothing = {"embedded-model", "steer", "steer-page", "validate-eval-set", "helpsteer-modpo", "paper-report"}
    text = (DOCS / "outputs.md").read_text("utf-8")
    assert not {name for name in known - writes_nothing if not re.search(rf"`(?:[a-z_]+ )?{name}\b", text)}
    named = {name for row in rows("outputs.md") for name in re.findall(r"`([a-z]\w*(?:-[a-z]+)+)\b", " ".join(row[1:]))}
    assert not named - known - BUILDERS.keys()


@pytest.mark.parametrize("method", SEAMS)
def test_the_page_of_hooks_names_every_seam(method):
    text = (DOCS / "hooks.md").read_text("utf-8")
    for seam in SEAMS[method]:
        name = seam.path.rpartition(":")[2].rpartition(".")[2]
        assert re.search(rf"(?<![A-Za-z_]){re.escape(name)}\b", text), seam.path
