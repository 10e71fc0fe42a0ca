"""The pages that verbs write have one look, hold no more than a window does, and are read in it: light, dark, wide, narrow."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from launch.common.look import NARROW
from tests.conftest import REPOSITORY
from tests.launch.browser import check_layout, look_like, needs_browser, open_browser
from tests.launch.example_pages import PAGES, write_pages

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    return write_pages(tmp_path_factory.mktemp("pages"))


class Outline(HTMLParser):
    """The style sheets, the head, and every width that an element asks for, with whether it is in a box that scrolls."""

    def __init__(self, text: str):
        super().__init__()
        self.styles, self.title, self.metas, self.widths, self.still, self.open = [], "", {}, [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "meta":
            self.metas[given.get("name", "charset")] = given.get("content", given.get("charset"))
        inside = any(name == "wide" for _, name in self.open)
        for text in (given.get("style") or "", f"width: {given['width']}px" if "width" in given else ""):
            self.widths += [(tag, value, inside) for value in re.findall(r"(?<!max-)width: ([^;]+)", text)]
        if given.get("class") == "wide" and given.get("tabindex") != "0":
            self.still.append(tag)
        if tag not in ("meta", "img", "br", "source"):
            self.open.append((tag, given.get("class")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1][0] == "style":
            self.styles.append(data)
        if self.open and self.open[-1][0] == "title":
            self.title += data


def sources_with(pattern: str, *rooms: str) -> set[str]:
    files = [
        file for room in rooms for file in (REPOSITORY / room).rglob("*") if file.suffix in (".py", ".html", ".css")
    ]
    return {file.relative_to(REPOSITORY).as_posix() for file in files if re.search(pattern, file.read_text())}


def test_there_is_one_style_and_one_document():
    """Whoever writes a page of his own writes one of these words. The site of the documentation is of another make."""
    found = sources_with("<style|<!doctype|prefers-color-scheme", "datasets_builders", "trl_ext", "swift_ext", "launch")
    assert found == {"launch/common/page.py"}


def test_colours_are_written_in_one_place():
    assert sources_with(r"#[0-9a-fA-F]{6}\b", "launch") == {"launch/common/look.py"}


def test_pages_share_their_style_and_ask_for_no_width_that_a_phone_lacks(pages):
    outlines = {name: Outline(path.read_text()) for name, path in pages.items()}
    assert len({style for one in outlines.values() for style in one.styles}) == 1
    for name, one in outlines.items():
        assert len(one.styles) == 1 and one.title, name
        assert one.metas == {"charset": "utf-8", "viewport": "width=device-width, initial-scale=1"}, name
        assert all(inside for _, _, inside in one.widths), (name, one.widths)
        assert not one.still, name  # what scrolls is reached by the keyboard


def test_pictures_have_a_shape_for_narrow_windows(pages):
    for name in PAGES[:-1]:
        text = pages[name].read_text()
        assert f'<source media="(max-width: {NARROW}px)" srcset="data:image/png;base64,' in text, name


@needs_browser
@pytest.mark.integration
def test_pages_fit_their_window_in_light_and_dark(pages, tmp_path):
    with open_browser(tmp_path / "profile") as driver:
        for path in pages.values():
            driver.get(path.as_uri())
            for width in (1280, 390):
                for scheme in ("light", "dark"):
                    look_like(driver, width, scheme)
                    check_layout(driver, width, scheme)
                    driver.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
                    check_layout(driver, width, scheme)
