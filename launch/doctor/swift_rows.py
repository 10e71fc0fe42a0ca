"""Rows as ms-swift reads them: its own preparation of columns and messages, then its own inputs of the template."""

import copy
from typing import Any

from swift.dataset import AutoPreprocessor
from swift.template import StdTemplateInputs, TemplateInputs

from swift_ext.modpo.texts import Messages, side_messages

Row = dict[str, Any]
# What a row can break in them; none of them says more than where in ms-swift.
_BROKEN = (AssertionError, AttributeError, IndexError, KeyError, TypeError)


class _Columns:
    """One row in the place of a data set, as far as ms-swift asks for its columns."""

    def __init__(self, row: Row):
        self.features = row

    def rename_columns(self, names: dict[str, str]) -> "_Columns":
        return _Columns({names.get(name, name): value for name, value in self.features.items()})


def _prepared(row: Row) -> Row:
    """The row that ms-swift's loader of data sets makes of this one: `conversations` and `query` become messages."""
    columns = _Columns(copy.deepcopy(row))
    reader = AutoPreprocessor()._get_preprocessor(columns)
    given = reader.safe_rename_columns(columns, reader.columns).features
    batch = {name: [value] for name, value in given.items()}
    found = reader.batched_to_rows(reader.batched_preprocess(batch, strict=True, ignore_max_length_error=False))
    if not found:
        raise ValueError("ms-swift leaves the row out")
    return found[0]


def read_prompt(row: Row) -> Messages:
    """The messages of a row.

    Raises:
        ValueError: ms-swift cannot read it.
    """
    try:
        prompt, response = side_messages(StdTemplateInputs.from_dict(_prepared(row)))
    except _BROKEN as problem:
        raise ValueError(f"ms-swift cannot read the row: {problem!r:.200}") from problem
    return prompt + response


def read_pair(row: Row) -> list[tuple[Messages, Messages]]:
    """(prompt, response) of the chosen and of the rejected side.

    Raises:
        ValueError: ms-swift cannot read it, or it finds both sides equal: then the message begins with `rejected_response: `.
    """
    try:
        inputs = TemplateInputs.from_dict(_prepared(row))
        return [side_messages(inputs.chosen), side_messages(inputs.rejected)]
    except _BROKEN as problem:
        if str(problem).startswith("rejected_response: "):
            raise ValueError(str(problem)) from problem
        raise ValueError(f"ms-swift cannot read the row: {problem!r:.200}") from problem
