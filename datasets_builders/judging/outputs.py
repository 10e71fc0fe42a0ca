"""The files of a run: which pair goes where, what may not be overwritten, and the writing itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from datasets_builders.io import write_jsonl
from datasets_builders.judging.columns import rows_of, schema
from datasets_builders.judging.files import write_array, write_parquet
from datasets_builders.judging.filters import Found
from datasets_builders.judging.helpsteer2 import TEST, TRAIN
from datasets_builders.judging.prompt import PairwisePrompt
from datasets_builders.judging.rows import PairToJudge
from datasets_builders.judging.settings import Settings


@dataclass(frozen=True)
class Output:
    """One side of the split of one input, or of all of them: a file in each format, none where there is no pair.

    Attributes:
        name: relative to the output folder, without side and ending.
        side: train or test.
    """

    name: PurePath
    side: str
    pairs: list[PairToJudge] = field(default_factory=list)

    def file(self, format_name: str) -> str:
        """The name of the file in one format, relative to the output folder."""
        return str(self.name.with_name(f"{self.name.name}_{self.side}.{format_name}"))


def place(found: Sequence[Found], sides: Sequence[str], names: Mapping[str, PurePath]) -> list[Output]:
    """Both sides of every output, with the pairs whose file has its name.

    Args:
        sides: of the pairs found, in the same order.
        names: input file (or hub data set) -> name of its output.
    """
    outputs = {(name, side): Output(name, side) for name in names.values() for side in (TRAIN, TEST)}
    for one, side in zip(found, sides, strict=True):
        outputs[names[one.file], side].pairs.append(one.pair)
    return list(outputs.values())


def check_outputs(outputs: Iterable[Output], settings: Settings, inputs: Iterable[Path]) -> None:
    """Refuse to write over an input, and to leave a file of an earlier run beside those of this one.

    Raises:
        ValueError: a file to be written is read, or an output without pairs exists.
    """
    read = {file.resolve() for file in inputs}
    for output in outputs:
        for path in (Path(settings.output_dir, output.file(format_name)) for format_name in settings.formats):
            if path.resolve() in read:
                raise ValueError(f"{path} is an input and would be overwritten; choose another --output_dir")
            if not output.pairs and path.exists():
                raise ValueError(f"{path} is of an earlier run, and this one has no pair for it; remove it first")


def write_outputs(outputs: Iterable[Output], prompt: PairwisePrompt, settings: Settings) -> dict[str, int]:
    """Write every output in every format; returns the number of rows of each file. Errors: see ``io.atomic_writer``."""
    written = {}
    for output in outputs:
        for format_name in settings.formats if output.pairs else ():
            file = output.file(format_name)
            rows = rows_of(output.pairs, prompt, output.side)
            written[file] = _write(Path(settings.output_dir, file), format_name, rows)
    return written


def _write(path: Path, format_name: str, rows: Iterable[dict[str, Any]]) -> int:
    if format_name == "parquet":
        return write_parquet(path, rows, schema())
    return write_array(path, rows) if format_name == "json" else write_jsonl(path, rows)
