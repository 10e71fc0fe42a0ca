"""The model card of a run: what upstream's says, and what the model was trained for. Neither TRL nor ms-swift is needed."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from datasets import Dataset

from datasets_builders.io import write_text

HEADING = "## What it was trained for"
CARD = "README.md"
BEFORE = "\n## Citations\n"  # a section of upstream's card


class Objective(NamedTuple):
    """One line of a card: what the model was trained for, how much of it, and what tells it."""

    name: str
    weight: str
    source: str


class DescribesItself:
    """Mixin of a trainer: behind what upstream writes in its card stand objectives and weights, the data and the claim.

    Method, paper and citation are upstream's own, out of the class attributes `_name`, `_paper` and `_tag_names`. The only
    change to `create_model_card`, which upstream calls at every checkpoint and push, is the section that is added.
    """

    claim: ClassVar[str]  # what `python -m launch reproduce` puts to the test
    computed_columns: ClassVar[Sequence[str]] = ()  # of rows; a model made them, so they do not count as data
    _data: str | None = None

    def objectives(self) -> list[Objective]:
        """What the model is trained for, called on the main process; nothing for a run that is upstream's own method."""
        raise NotImplementedError

    def create_model_card(
        self, model_name: str | None = None, dataset_name: str | None = None, tags: Any = None
    ) -> None:
        super().create_model_card(model_name, dataset_name, tags)
        if not self.is_world_process_zero() or not (objectives := self.objectives()):
            return
        if self._data is None:
            self._data = describe_data(self.train_dataset, self.computed_columns)
        path = Path(self.args.output_dir, CARD)
        written, before, citations = path.read_text(encoding="utf-8").partition(BEFORE)
        write_text(path, f"{written}\n{section(objectives, self._data, self.claim)}{before}{citations}")


def section(objectives: Sequence[Objective], data: str, claim: str) -> str:
    """The section that is added, Markdown."""
    rows = [("objective", "weight", "told by"), ("---",) * 3, *objectives]
    table = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    return (
        f"{HEADING}\n\n{table}\n\nTraining data: {data}.\n\nThe method rests on the claim `{claim}` of swift-trl-ext, which "
        f"`python -m launch reproduce {claim}` puts to the test; a small run that holds there promises nothing of this model.\n"
    )


def source_name(source: str) -> str:
    """A hub's name or a function as it is; of a folder the last part alone, because a card is for others to read."""
    return f"`{Path(source).name if Path(source).exists() else source}`"


def describe_data(dataset: Any, computed: Sequence[str] = ()) -> str:
    """Number of rows and 16 hex digits over their content in order; a stream has neither."""
    while not isinstance(dataset, Dataset) and hasattr(dataset, "dataset"):
        dataset = dataset.dataset  # ms-swift's wrappers, which encode a row when it is asked for
    if not isinstance(dataset, Dataset):
        return f"a {type(dataset).__name__}, whose rows are not counted"
    rows = dataset.remove_columns([name for name in computed if name in dataset.column_names]).with_format(None)
    digest = hashlib.blake2b(digest_size=8)
    for batch in rows.iter(1000):
        digest.update(json.dumps(batch, sort_keys=True, default=repr).encode())
    return f"{len(rows):,} rows, digest `{digest.hexdigest()}` (content and order of the rows as the trainer has them)"
