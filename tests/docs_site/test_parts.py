"""Links, headers and flags as Markdown, each by worked examples."""

import argparse

from docs_site.commands import section
from docs_site.links import rewritten, with_blank_lines
from docs_site.run_files import is_command
from docs_site.text import plain

PLACES = {
    "README.md": "index.md",
    "docs/d2po.md": "d2po.md",
    "launch/runs/x/y.yaml": "run_files/x.md#yyaml",
    "a.py": "source/a.py.md",
}


def link(text: str, origin: str = "docs/modpo.md", address: str = "modpo.md") -> str:
    return rewritten(text, origin, address, PLACES)


def test_links_lead_where_the_site_has_the_file():
    assert link("[start](../README.md#install)") == "[start](index.md#install)"
    assert link("[a](../launch/runs/x/y.yaml), [b](../a.py)") == "[a](run_files/x.md#yyaml), [b](source/a.py.md)"
    assert link("[d](docs/d2po.md)", "README.md", "index.md") == "[d](d2po.md)"
    assert link("[d](d2po.md#run)", "docs/run_files/x.md", "run_files/x.md") == "[d](d2po.md#run)"
    assert link("[d](../d2po.md)", "docs/run_files/x.md", "run_files/x.md") == "[d](../d2po.md)"


def test_what_leads_nowhere_else_is_left_alone():
    text = "[x](https://x.org) [y](#part) [z](../lost.md)\n```text\n[start](../README.md)\n```\n"
    assert link(text) == text


def test_a_list_behind_a_sentence_gets_its_blank_line_once():
    assert with_blank_lines("Two:\n- a\n  more\n- b\n\n- c") == "Two:\n\n- a\n  more\n- b\n\n- c"
    assert with_blank_lines("```\nx\n- y\n```") == "```\nx\n- y\n```"


def test_signs_of_markdown_are_shown_as_they_are():
    assert plain("a_b | <c> [d] `e_f|g`") == "a\\_b \\| \\<c\\> \\[d\\] `e_f\\|g`"


def test_a_command_is_told_from_a_sentence():
    assert is_command("python -m launch x") and not is_command("one GPU, as python has it")


def test_a_command_has_its_flags_by_group_and_hides_the_hidden():
    parser = argparse.ArgumentParser(description="does it.\n\nMore of it.")
    parser.add_argument("--out", required=True, metavar="DIR", help="where | what")
    parser.add_argument("--old", help=argparse.SUPPRESS)
    parser.add_argument_group("model").add_argument(
        "--size", type=int, nargs="+", default=3, help="of it (default %(default)s)"
    )
    text = section("do", parser)
    assert text.startswith("## `do`\n\nDoes it.\n\nMore of it.\n")
    assert "| `--out DIR` | where \\| what (must be given) |" in text
    assert "**Model**" in text and "| `--size SIZE [SIZE ...]` | of it (default 3) |" in text
    assert "--old" not in text and "--help" not in text
