"""`python -m launch paper-report`: every result in some folders on one page that opens without a network."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datasets_builders.command_line import Parser
from datasets_builders.io import write_text
from launch.cli.verbs import verb_parser
from launch.common import page
from launch.common.page import folded, heading, picture
from launch.compare.gather import Folder, gather
from launch.compare.sections import KINDS, any_result, kind_of, known_result

if TYPE_CHECKING:
    from markupsafe import Markup

_CONTENTS = """<ul>{% for heading in headings %}<li><a href="#s{{ loop.index0 }}">{{ heading }}</a></li>{% endfor %}</ul>
"""
_LEGEND = (
    'Higher is better unless a name starts with "minus". Intervals are 95%; one that holds 0 (of a difference) or 0.5 (of a '
    "win rate) tells nothing apart."
)


def render(folders: Sequence[Folder], left_out: Counter[str], title: str) -> str:
    """The page: results of known kinds first, kind by kind, then the others and the pictures, folder by folder.

    Raises:
        ValueError: see `known_result`.
    """
    sections: dict[str, list[Markup]] = {}
    for kind, (name, _) in KINDS.items():
        parts = sections[name] = []
        for folder in folders:
            found = [file for file, result in folder.results.items() if kind_of(result) == kind]
            for file in found:
                where = f"{folder.name}/{file}"
                parts += [heading(where, 3), known_result(folder.results[file], kind, where)]
            if found:  # the pictures of its folder stand with a result
                parts += [picture(file, folder.pictures.pop(file)) for file in list(folder.pictures)]
    others: list[Markup] = []
    pictures: list[Markup] = []
    sections |= {"Other results": others, "Pictures": pictures}
    for folder in folders:
        unknown = {file: result for file, result in folder.results.items() if kind_of(result) is None}
        others += [folded(f"{folder.name}/{file}", any_result(result)) for file, result in unknown.items()]
        for file, png in folder.pictures.items():
            pictures += [heading(f"{folder.name}/{file}", 3), picture(file, png)]
    sections = {name: parts for name, parts in sections.items() if parts}
    body = [page.render(_CONTENTS, headings=list(sections))]
    for place, (name, parts) in enumerate(sections.items()):
        body += [heading(name, anchor=f"s{place}"), *parts]
    count = sum(len(folder.results) for folder in folders)
    reasons = "; ".join(f"{reason}: {number}" for reason, number in sorted(left_out.items()))
    subtitle = f"{count} results from {len(folders)} folders" + (f"; left out: {reasons}" if reasons else "")
    return page.document(title, subtitle, page.joined([*body, page.paragraph(_LEGEND, soft=True)]))


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("paper-report", __doc__)
    parser.add_argument("folders", nargs="+", metavar="DIR", help="searched with their subfolders for *.json and *.png")
    parser.add_argument("--out", required=True, metavar="FILE.html", help="the page")
    parser.add_argument("--title", default="Evaluation", help="title of the page")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the page is written."""
    args = make_parser().parse_args(argv)
    folders, left_out = gather(args.folders)
    for folder in folders:
        for name, result in folder.results.items():
            print(f"{folder.name}/{name}: {KINDS[kind][0] if (kind := kind_of(result)) else 'other'}")
    text = render(folders, left_out, args.title)
    for reason, count in sorted(left_out.items()):
        print(f"left out, {reason}: {count}")
    write_text(args.out, text)
    print(f"written: {args.out}")
    return 0
