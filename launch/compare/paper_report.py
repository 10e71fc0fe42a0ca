"""`python -m launch paper-report`: every result in some folders on one page that opens without a network."""

import argparse
from collections import Counter
from collections.abc import Sequence
from html import escape

from datasets_builders.choices import Parser
from datasets_builders.io import atomic_writer
from launch.compare.gather import Folder, gather
from launch.compare.html import folded, picture
from launch.compare.report_page import STYLE, document
from launch.compare.sections import KINDS, any_result, kind_of

_STYLE = f"""{STYLE}
h3 {{ font-size: 1rem; margin: 1.4rem 0 .4rem; }} summary {{ cursor: pointer; color: var(--soft); margin: .8rem 0; }}
pre {{ overflow-x: auto; background: var(--band); padding: .8rem; font-size: .8rem; max-height: 30rem; }}
a {{ color: var(--mark); }}
"""
_LEGEND = (
    '<p class="soft">Higher is better unless a name starts with "minus". Intervals are 95%; one that holds 0 (of a difference) '
    "or 0.5 (of a win rate) tells nothing apart.</p>"
)


def render(folders: Sequence[Folder], left_out: Counter[str], title: str) -> str:
    """The page: results of known kinds first, kind by kind, then the others and the pictures, folder by folder."""
    sections: list[tuple[str, str]] = []
    for kind, (heading, show) in KINDS.items():
        parts = []
        for folder in folders:
            found = [name for name, result in folder.results.items() if kind_of(result) == kind]
            parts += [f"<h3>{escape(folder.name)}/{escape(name)}</h3>{show(folder.results[name])}" for name in found]
            if found:  # the pictures of its folder stand with a result
                parts += [picture(name, folder.pictures.pop(name)) for name in list(folder.pictures)]
        if parts:
            sections.append((heading, "".join(parts)))
    others, pictures = [], []
    for folder in folders:
        unknown = {name: result for name, result in folder.results.items() if kind_of(result) is None}
        others += [folded(f"{folder.name}/{name}", any_result(result)) for name, result in unknown.items()]
        pictures += [f"<h3>{escape(folder.name)}/{escape(name)}</h3>{picture(name, png)}"
                     for name, png in folder.pictures.items()]  # fmt: skip
    sections += [
        (heading, "".join(parts)) for heading, parts in (("Other results", others), ("Pictures", pictures)) if parts
    ]
    count = sum(len(folder.results) for folder in folders)
    reasons = "; ".join(f"{reason}: {number}" for reason, number in sorted(left_out.items()))
    contents = "".join(
        f'<li><a href="#s{place}">{escape(heading)}</a></li>' for place, (heading, _) in enumerate(sections)
    )
    body = "".join(
        f'<h2 id="s{place}">{escape(heading)}</h2>{inner}' for place, (heading, inner) in enumerate(sections)
    )
    subtitle = f"{count} results from {len(folders)} folders" + (f"; left out: {reasons}" if reasons else "")
    return document(title, subtitle, f"<ul>{contents}</ul>\n{body}\n{_LEGEND}", _STYLE)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="python -m launch paper-report", description=__doc__)
    parser.add_argument("folders", nargs="+", metavar="DIR", help="searched with their subfolders for *.json and *.png")
    parser.add_argument("--out", required=True, metavar="FILE.html")
    parser.add_argument("--title", default="Evaluation")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when the page is written."""
    args = make_parser().parse_args(argv)
    folders, left_out = gather(args.folders)
    for folder in folders:
        for name, result in folder.results.items():
            print(f"{folder.name}/{name}: {KINDS[kind][0] if (kind := kind_of(result)) else 'other'}")
    page = render(folders, left_out, args.title)
    for reason, count in sorted(left_out.items()):
        print(f"left out, {reason}: {count}")
    with atomic_writer(args.out) as handle:
        handle.write(page)
    print(f"written: {args.out}")
    return 0
