"""Pairs whose prompts are written already: the rows of `python -m datasets_builders pointwise`, on which a run trains."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_builders.choices import nearest
from datasets_builders.comparisons import Comparison
from datasets_builders.fields import RowError, require, require_rating
from datasets_builders.messages import text_of
from datasets_builders.prompt_rows import as_messages, read_prompt
from datasets_builders.scoring.parsers import PARSERS, get_parser
from datasets_builders.scoring.prompt import PointwisePrompt
from datasets_builders.source import each_row


class WrittenPrompt(PointwisePrompt):
    """Stands where a prompt is expected: what it is given as a reply is the whole prompt."""

    def __call__(self, context: str, response: str) -> str:
        return response


@dataclass(frozen=True)
class WrittenPairs:
    """What a file of rows holds.

    Attributes:
        comparisons: the prompts of both sides stand where replies do, and there is no context.
        parser_name: what the rows say about how their answers are read; None where they say nothing.
    """

    comparisons: list[Comparison]
    parser_name: str | None

    def prompt(self, parser_name: str | None, path: str) -> WrittenPrompt:
        """The prompt that leaves them as they are, with the parser of that name or the rows' own.

        Raises:
            ValueError: neither says one, or there is none of that name.
        """
        name = parser_name or self.parser_name
        if name is None:
            raise ValueError(f"{path}: its rows have no parser_name, say --parser; {nearest('', PARSERS)}")
        try:
            parser = get_parser(name)
        except ValueError as error:
            raise ValueError(f"{path if parser_name is None else '--parser'}: {error}") from error
        return WrittenPrompt("as written", parser, "last", ("", ""), "", "the prompts of the rows")


def read_written(path: str | Path) -> WrittenPairs:
    """The pairs of a file, in the order in which their first row stands.

    Raises:
        ValueError: `FILE:LINE: ...` for a row that cannot be used, one that its pair has already, or that says another
            preference than the other side; `FILE: ...` for a pair without its other side, or rows of several parsers.
    """
    pairs: dict[Any, dict[int, str]] = {}
    preferred: dict[Any, int] = {}
    parsers: set[str | None] = set()
    for where, (pair_id, side, label, parser, text) in each_row(path, _read_row):
        sides = pairs.setdefault(pair_id, {})
        if side in sides:
            raise ValueError(f"{where}: pair {pair_id} has a row of side {side} already")
        if preferred.setdefault(pair_id, label) != label:
            raise ValueError(
                f"{where}: pair {pair_id} has preferred_side {label} here and {1 - label} in its other row"
            )
        sides[side] = text
        parsers.add(parser)
    if lonely := [pair_id for pair_id, sides in pairs.items() if len(sides) < 2]:
        raise ValueError(f"{path}: {len(lonely)} pairs have one side alone, the first is pair {lonely[0]}")
    if not pairs:
        raise ValueError(f"{path}: no rows")
    if len(parsers) > 1:
        raise ValueError(f"{path}: its rows name several parsers: {', '.join(sorted(map(str, parsers)))}")
    comparisons = [
        Comparison("", (sides[0], sides[1]), preferred[pair_id], number)
        for number, (pair_id, sides) in enumerate(pairs.items())
    ]
    return WrittenPairs(comparisons, parsers.pop())


def _read_row(row: dict[str, Any]) -> tuple[Any, int, int, str | None, str]:
    """`pair_id`, `side`, `preferred_side`, `parser_name` and the text of the prompt."""
    messages = as_messages(read_prompt(row, "messages"))
    if len(messages) > 1:
        roles = ", ".join(str(message["role"]) for message in messages)
        raise RowError("other_messages", f"field 'messages' must be one message of the user, found {roles}")
    pair_id, parser = require(row, "pair_id"), row.get("parser_name")
    if isinstance(pair_id, bool) or not isinstance(pair_id, int | str):
        raise RowError("wrong_type", f"field 'pair_id' must be a whole number or a text, found {pair_id!r:.60}")
    if parser is not None and not isinstance(parser, str):
        raise RowError("wrong_type", f"field 'parser_name' must be a text, found {parser!r:.60}")
    sides = (require_rating(row, name, 0, 1) for name in ("side", "preferred_side"))
    return pair_id, *sides, parser, text_of(messages[0])
