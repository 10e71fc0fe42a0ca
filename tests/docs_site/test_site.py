"""The site is built strictly, once; every page is in it, every link leads somewhere, and it loads nothing from elsewhere."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from datasets_builders.__main__ import BUILDERS
from launch.cli.verbs import PURPOSES
from launch.reproduce.claims import NAMES
from tests.conftest import REPOSITORY

pytest.importorskip("mkdocs", reason="the site is built with the extra `docs`")
BUILD = """
import json, sys
from mkdocs.__main__ import cli
try:
    cli(["build", "--strict", "--site-dir", sys.argv[1]], standalone_mode=False)
finally:
    print(json.dumps([name for name in ("torch", "transformers", "trl", "swift") if name in sys.modules]))
"""


class _Page(HTMLParser):
    """Links, what the browser loads by itself, and parts that a link may lead to."""

    def __init__(self, text: str):
        super().__init__()
        self.links, self.loaded, self.parts = [], [], {""}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.parts.add(values.get("id"))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("script", "img", "iframe") and values.get("src"):
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.loaded.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []  # reference pages are read, not imported
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, _Page]:
    return {path: _Page(path.read_text("utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_page_verb_run_file_claim_and_public_name_is_there(site):
    def text(*parts: str) -> str:
        return site.joinpath(*parts).read_text("utf-8")

    assert "Two commands" in text("index.html")
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert (site / ("pages.html" if page.stem == "index" else f"{page.stem}.html")).is_file(), page
    for purpose, verbs in {**PURPOSES, "builders": BUILDERS}.items():
        shown = text("commands", f"{purpose}.html")
        assert [name for name in verbs if f'id="{name}"' not in shown] == []
    for file in (REPOSITORY / "launch" / "runs").rglob("*.yaml"):
        assert f">{file.name}<" in text("run_files", f"{file.parent.name}.html"), file
    assert [name for name in NAMES if f'id="{name}"' not in text("claims.html")] == []
    import trl_ext

    assert [name for name in trl_ext.__all__ if f".{name}" not in text("reference", "trl_ext.html")] == []


def test_every_flag_of_a_verb_is_there(site):
    from launch.scores.score_gold import make_parser

    shown = site.joinpath("commands", "score.html").read_text("utf-8")
    section = shown.partition('id="score-gold"')[2].partition("<h2")[0]
    options = {option for action in make_parser()._actions for option in action.option_strings} - {"-h", "--help"}
    assert len(options) > 5 and not [option for option in options if option not in section]


def test_every_link_leads_to_a_page_and_to_a_part_of_it(site, pages):
    lost = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (target in pages and unquote(parts.fragment) not in pages[target].parts):
                lost.append((path.name, link))
    assert not lost and sum(len(page.links) for page in pages.values()) > 3000


def test_nothing_is_loaded_from_elsewhere_and_no_address_needs_a_server(site, pages):
    loaded = {source for page in pages.values() for source in page.loaded}
    assert not [source for source in loaded if urlsplit(source).netloc or source.startswith("/")]
    assert any(source.endswith("iframe-worker.js") for source in loaded)
    assert (site / "search" / "search_index.js").read_text("utf-8").startswith("var __index = ")
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(?:https?:)?//", styles)
