"""Pages: whatever is a text is escaped, at every place where one can stand; numbers have one format."""

from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError

from launch.common import page

BAD = """<script>alert(1)</script>" onload='x' & {{ 7 * 7 }} {% raw %}"""


class Texts(HTMLParser):
    """The tags of a page, the values of their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.values, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.values += [value for _, value in attributes]

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    "made",
    [
        page.paragraph(BAD), page.heading(BAD), page.code(BAD), page.folded(BAD, page.paragraph(BAD)),
        page.table([BAD], [[BAD], [(BAD, BAD)]]), page.folded("title", BAD), page.joined([page.paragraph("a"), BAD]),
        page.render("<b>{{ text }}</b>", text=BAD),
    ],
)  # fmt: skip
def test_a_text_never_becomes_html(made):
    found = Texts(str(made))
    assert "script" not in found.tags and BAD in found.text and set(found.values) <= {"wide", "0"}


def test_a_page_escapes_its_title_and_takes_pieces_as_they_are():
    text = page.document(BAD, BAD, page.joined([page.heading("One", anchor="s0"), page.picture(BAD, b"png")]))
    found = Texts(text)
    assert "script" not in found.tags and found.tags.count("h2") == found.tags.count("img") == 1
    assert BAD in found.values and "s0" in found.values and found.text.count(BAD) == 3
    assert text.startswith("<!doctype html>") and text.endswith("</html>\n")


def test_a_name_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError, match="subtitle"):
        page.render("<p>{{ subtitle }}</p>", title="x")


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [
        (0, "0", "0"),
        (-0.12345, "−0.1235", "−0.1235"),
        (12345.6, "1.235e+04", "+1.235e+04"),
        (2.0, "2", "+2"),
        (7.6e-17, "0", "0"),
    ],
)
def test_numbers(value, plain, with_sign):
    assert (page.number(value), page.signed(value)) == (plain, with_sign)


def test_estimates():
    assert page.estimate({"value": 0.5, "low": 0.25, "high": 0.75, "n": 4}) == ("0.5", "0.25 to 0.75")
    assert page.estimate({"value": 0.5, "low": None, "high": None, "n": 1}, with_sign=True) == ("+0.5", "")
    assert page.estimate(None) == page.estimate({"value": None, "low": None, "high": None, "n": 0}) == "n/a"
