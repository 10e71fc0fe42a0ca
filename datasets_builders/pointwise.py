"""Rows for a judge that scores one reply at a time: each comparison becomes two prompts, one for each side.

The two rows of a pair follow each other, side 0 first, and share ``pair_id`` and ``preferred_side``; a pair-coupled
reward puts them together again.
"""

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from json.encoder import encode_basestring
from typing import Any

from datasets_builders.choices import one_of, positive_integer, share
from datasets_builders.comparisons import SETS, Comparison, get_set, read_comparisons
from datasets_builders.io import LINE_ENDS, SkipCounter, atomic_writer, write_report
from datasets_builders.scoring.prompt import PointwisePrompt, shown
from datasets_builders.scoring.prompts import PROMPTS, dataset_of, get_prompt

CHUNK_PAIRS = 256
# Control characters other than the line feed, which JSON escapes and texts seldom hold.
RARE = bytes(code for code in range(32) if code != ord("\n"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this builder."""
    parser.add_argument("--dataset", required=True, type=one_of(SETS), help=f"one of {', '.join(SETS)}")
    parser.add_argument("--prompt", required=True, type=one_of(PROMPTS), help=f"one of {', '.join(PROMPTS)}")
    parser.add_argument("--split", required=True, help="a split of the published set; with --source only its name")
    parser.add_argument("--out", required=True, help="JSONL file to write; a report goes to __reports__ beside it")
    parser.add_argument("--source", help="file, folder or glob (JSONL, JSONL.gz, Parquet) to read instead of the hub")
    parser.add_argument("--limit", type=positive_integer, help="stop after this many pairs (two rows each)")
    parser.add_argument(
        "--add_meta", action="store_true", help="add prompt_name, parser_name, dataset and split to every row"
    )
    parser.add_argument(
        "--shuffle_sides", type=int, metavar="SEED", help="exchange the sides of about half of the pairs"
    )
    parser.add_argument(
        "--max_skipped_share",
        type=share,
        default=0.05,
        help="fail when more than this share of the rows is unusable (0: fail at the first; default %(default)s)",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Build the file that the options describe and return the report.

    Raises:
        ValueError: an option without a meaning here, a prompt of another data set, too many unusable rows, or no pair
            left; no output file appears then.
        OSError: the disk is full, or the hub cannot be reached.
    """
    prompt, published = get_prompt(options.prompt), get_set(options.dataset, options.split)
    if options.out.endswith((".gz", ".parquet")):
        raise ValueError(f"--out {options.out}: the output is plain JSONL, give it a name that ends in .jsonl")
    check_prompt(prompt, options.dataset)
    names = {
        "prompt_name": prompt.name,
        "parser_name": prompt.parser.name,
        "dataset": published.stored_name,
        "split": options.split,
    }
    skips, preferred = SkipCounter(), [0, 0]
    comparisons = read_comparisons(
        options.dataset,
        options.split,
        source=options.source,
        skips=skips,
        max_skipped_share=options.max_skipped_share,
        shuffle_sides=options.shuffle_sides,
    )
    with atomic_writer(options.out) as handle:
        lines = pair_lines(islice(comparisons, options.limit), prompt, names if options.add_meta else {}, preferred)
        # Encoded pieces go past the text layer of the file, which would encode every character of every row again.
        while chunk := b"".join(islice(lines, CHUNK_PAIRS)):
            handle.buffer.write(chunk)
        # Judged before the file appears; the reader judges only a stream that it came to the end of.
        skips.check(options.max_skipped_share)
        if not skips.kept:
            raise ValueError(f"no usable row among {skips.total} of {options.source or published.hub_name}")
    pairs = sum(preferred)
    report = names | {"shuffle_sides": options.shuffle_sides, "rows": skips.total, "pairs": pairs}
    report |= {"preferred_side": {"0": preferred[0], "1": preferred[1]}} | skips.as_dict()
    report |= {"written": 2 * pairs, "limit_reached": pairs == options.limit}
    if options.shuffle_sides is None and published.always_first:
        report["note"] = (
            "every preferred_side is 0, because the set lists the preferred reply first; --shuffle_sides SEED balances "
            "the sides"
        )
    write_report(options.out, report)
    return report


def check_prompt(prompt: PointwisePrompt, dataset: str) -> None:
    """Refuse a prompt made for another data set: a judge of summaries has no use for a conversation, and conversely.

    Raises:
        ValueError: the prompt is made for another data set; those that fit are listed.
    """
    if dataset_of(prompt) != dataset:
        fitting = [one.name for one in PROMPTS.values() if dataset_of(one) == dataset]
        raise ValueError(
            f"--prompt {prompt.name} judges a {prompt.headings[1].lower()} of {dataset_of(prompt)}, not a reply of "
            f"{dataset}; use one of {', '.join(fitting)}"
        )


def pair_lines(
    comparisons: Iterable[Comparison], prompt: PointwisePrompt, meta: dict[str, str], preferred: list[int]
) -> Iterator[bytes]:
    """The two JSON lines of each comparison, line ends included; ``pair_id`` counts from 0.

    The lines are put together from pieces already encoded, the instructions once and the context once a pair: encoding
    is most of the work, and the two rows of a pair differ in the reply only.

    Args:
        meta: further fields of every row.
        preferred: (2,) number of pairs that prefer side 0 and side 1, counted here.
    """
    before, between = map(encoded, prompt.frame)
    before = b'{"messages": [{"role": "user", "content": "' + before
    after = b'"}], "pair_id": %d, "side": %d, "preferred_side": %d'
    end = b"".join(b', "%b": "%b"' % (encoded(name), encoded(value)) for name, value in meta.items()) + b"}\n"
    for pair_id, comparison in enumerate(comparisons):
        label = comparison.preferred
        preferred[label] += 1
        first, second = comparison.responses
        start = b"".join((before, encoded(shown(comparison.context)), between))
        yield b"".join(
            (
                *(start, encoded(shown(first)), after % (pair_id, 0, label), end),
                *(start, encoded(shown(second)), after % (pair_id, 1, label), end),
            )
        )


def encoded(text: str) -> bytes:
    """The text as it stands between the quotes of a JSON string on one line, in UTF-8."""
    data = text.encode()
    if len(data.translate(None, RARE)) == len(data) and (text.isascii() or not holds_line_end(text)):
        # Nothing but these three needs an escape, and replacing them takes half the time of the JSON encoder.
        return data.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    careful = encode_basestring(text)[1:-1]
    for character in LINE_ENDS:
        careful = careful.replace(character, f"\\u{ord(character):04x}")
    return careful.encode()


def holds_line_end(text: str) -> bool:
    """Whether a character of ``LINE_ENDS`` is in the text."""
    first, second, third = LINE_ENDS
    return first in text or second in text or third in text
