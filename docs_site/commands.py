"""Pages of every command and its flags, out of the parsers that read them."""

import argparse
from collections.abc import Iterator, Mapping
from importlib import import_module

from datasets_builders.__main__ import BUILDERS
from datasets_builders.__main__ import make_parser as builder_parser
from docs_site.text import block, code, plain
from launch.cli.verbs import PURPOSES
from launch.common.table import markdown


def pages() -> Iterator[tuple[str, str]]:
    """(address, Markdown): a page for each purpose of `python -m launch`, and one of the builders."""
    for purpose, verbs in PURPOSES.items():
        parsers = {name: import_module(verb.module).make_parser() for name, verb in verbs.items()}
        yield f"commands/{purpose}.md", page(f"Commands: {purpose}", parsers)
    builders = {name: builder_parser(name) for name in BUILDERS}
    yield "commands/builders.md", page("Commands: builders of data", builders)


def page(title: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """One section for each command."""
    return f"# {title}\n\n" + "\n".join(section(name, parser) for name, parser in parsers.items())


def section(name: str, parser: argparse.ArgumentParser) -> str:
    """What a command is for, an example, and its flags by group."""
    parts = [
        f"## `{name}`\n",
        *(f"{plain(part[:1].upper() + part[1:])}\n" for part in (parser.description or "").split("\n\n")),
    ]
    if example := getattr(parser, "example", None):
        parts.append(block(example, "bash"))
    for group in parser._action_groups:
        rows = [row(parser, action) for action in group._group_actions if action.help != argparse.SUPPRESS]
        rows = [cells for cells in rows if cells[0] != "`-h`, `--help`"]
        if rows:
            usual = group.title in ("options", "positional arguments")
            parts += [] if usual else [f"**{plain((group.title or '').capitalize())}**\n"]
            parts.append(markdown_table(rows))
    return "\n".join(parts)


def markdown_table(rows: list[list[str]]) -> str:
    """Cells hold Markdown, in which bars are marked already."""
    return markdown([["flag", "meaning"], *rows]).replace("\\\\|", "\\|")


def row(parser: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    """Names with what they take; the help with its default, and whether it must be given."""
    formatter = parser._get_formatter()
    if action.option_strings:
        value = (
            ""
            if action.nargs == 0
            else f" {formatter._format_args(action, formatter._get_default_metavar_for_optional(action))}"
        )
        names = ", ".join(code(f"{option}{value}") for option in action.option_strings)
    else:
        names = code(formatter._format_args(action, formatter._get_default_metavar_for_positional(action)))
    must = action.required and action.option_strings
    said = plain(formatter._expand_help(action)) if action.help else ""
    return [names, f"{said} (must be given)".strip() if must else said]
