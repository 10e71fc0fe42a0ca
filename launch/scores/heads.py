"""The names of the heads of a reward model, checked against its own table. Pure functions."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from datasets_builders.choices import nearest

# Model card of RLHFlow/ArmoRM-Llama3-8B-v0.1 (arXiv 2406.12845), whose configuration names no head.
ARMORM_HEADS = (
    "helpsteer-helpfulness", "helpsteer-correctness", "helpsteer-coherence", "helpsteer-complexity",
    "helpsteer-verbosity", "ultrafeedback-overall_score", "ultrafeedback-instruction_following",
    "ultrafeedback-truthfulness", "ultrafeedback-honesty", "ultrafeedback-helpfulness", "beavertails-is_safe",
    "prometheus-score", "argilla-overall_quality", "argilla-judge_lm", "code-complexity", "code-style",
    "code-explanation", "code-instruction-following", "code-readability",
)  # fmt: skip
HELPSTEER = ARMORM_HEADS[:5]
BUILT_IN = "built-in ArmoRM table"


class HeadTable(NamedTuple):
    """Names of all heads in the order of the model's outputs, and where they were found."""

    names: tuple[str, ...]
    source: str


def head_table(declared: Mapping[str, Any], heads: int) -> HeadTable:
    """The first table of `declared` that names heads, or the built-in one for a model with as many heads as ArmoRM.

    Args:
        declared: where -> a list of names, an `id2label` mapping or None, in order of preference. Labels that
            transformers makes up (`LABEL_0`) name nothing.
        heads: outputs of the model.

    Raises:
        ValueError: the table has another length than the model has outputs, holds an empty name or one twice; or there
            is none and the model is not shaped like ArmoRM.
    """
    for source, table in declared.items():
        if not (names := _names(table, source)):
            continue
        if len(names) != heads:
            raise ValueError(f"{source} names {len(names)} heads, the model has {heads} outputs: {', '.join(names)}")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{source} uses the name {twice[0]!r} twice")
        return HeadTable(tuple(names), source)
    if heads != len(ARMORM_HEADS):
        raise ValueError(
            f"the model names none of its {heads} heads ({', '.join(declared)} were asked), and the built-in table is for "
            f"ArmoRM's {len(ARMORM_HEADS)}; write their names into id2label of its config.json"
        )
    return HeadTable(ARMORM_HEADS, BUILT_IN)


def _names(table: Any, source: str) -> list[str]:
    if isinstance(table, Mapping):
        try:
            table = [table[key] for key in sorted(table, key=int)]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{source}: the keys must be numbers, found {sorted(map(str, table))}") from error
        if table == [f"LABEL_{place}" for place in range(len(table))]:
            return []
    if table is None:
        return []
    if isinstance(table, str) or not isinstance(table, Sequence):
        raise ValueError(f"{source} must be a list of names, found a {type(table).__name__}")
    for name in table:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{source}: a head's name must be text, found {name!r}")
    return list(table)


def choose_heads(wanted: Sequence[str], table: HeadTable) -> dict[str, int]:
    """Name -> place among the outputs, of the heads in `wanted` in that order; of all when it is empty.

    Raises:
        ValueError: a name that is not in the table (the nearest one is offered), or one twice.
    """
    for place, name in enumerate(wanted):
        if name not in table.names:
            raise ValueError(
                f"--heads {name}: the model has no such head ({table.source}); {nearest(name, table.names)}"
            )
        if name in wanted[:place]:
            raise ValueError(f"--heads names {name!r} twice")
    return {name: table.names.index(name) for name in wanted or table.names}
