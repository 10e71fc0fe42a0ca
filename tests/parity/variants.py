"""What a variant is, for every suite."""

from dataclasses import dataclass, field

from .outcomes import judge


@dataclass(frozen=True)
class Variant:
    """Flags on top of the suite's own.

    Args:
        flags: of the command line, or settings and arguments of the class.
        data: which of the suite's files of rows.
        refused: part of our refusal's message, by limit; a limit that is not named must equal the stock run.
        upstream: part of the message by which upstream itself refuses the flags.
        stock_stops: part of the message with which the stock run alone stops; ours must go through.
    """

    flags: dict = field(default_factory=dict)
    data: str = "pairs"
    refused: dict[str, str] = field(default_factory=dict)
    upstream: str | None = None
    stock_stops: str | None = None


def check(count, suite: str, variant: Variant, limit: str, stock: dict, ours: dict, rounding: float = 0.0) -> None:
    """Counts the outcome and holds it against what the variant expects; `rounding` as in `outcomes.same`."""
    outcome = judge(stock, ours, rounding=rounding)
    count(suite, outcome)
    if limit in variant.refused:
        assert outcome.kind == "refused" and variant.refused[limit] in outcome.why, outcome
    elif variant.upstream is not None:
        assert outcome.kind == "upstream refuses" and variant.upstream in outcome.why, outcome
    elif variant.stock_stops is not None:
        assert outcome.kind == "runs here alone" and variant.stock_stops in outcome.why, outcome
    else:
        assert outcome.kind == "equal", outcome.why
