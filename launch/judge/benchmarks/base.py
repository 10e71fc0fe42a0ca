"""What every benchmark offers: pairs in both orders from its own rows, and its own numbers from the verdicts on them."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, NamedTuple

from datasets_builders.choices import nearest
from datasets_builders.fields import RowError, require, require_text
from datasets_builders.io import SkipCounter
from datasets_builders.judging.rows import PairToJudge
from datasets_builders.source import parse_rows, rows_from
from launch.common.statistics import Summary
from launch.judge.orders import checked_pairs
from launch.judge.verdicts import JudgedRow, combine_orders

ITEM = "item"


class JudgedPair(NamedTuple):
    """One pair of a benchmark with the verdicts on both of its orders."""

    pair: PairToJudge
    original: JudgedRow
    swapped: JudgedRow

    @property
    def combined(self) -> str | None:
        """`right`, `wrong` or `tie` from both orders together (see `combine_orders`); None where an order has no verdict."""
        verdict = combine_orders(self.original, self.swapped)
        if verdict in (None, "tie"):
            return verdict
        return "right" if verdict == self.original.ground_truth else "wrong"


@dataclass(frozen=True)
class Benchmark:
    """A published set of pairs and its scoring.

    Attributes:
        name: on the command line.
        hub_name: of the data set.
        splits: on the hub; the first is the default.
        read: one published row -> its pairs, the better reply first unless the format has an order of its own; raises
            `RowError` for a row that cannot be used.
        score: (items, seed) -> result; an item is the list of judged pairs of one published row. `headline` of the
            result maps what stands in the table to a share with its interval.
        has_order: whether the published rows say which reply comes first. If not, a seed decides for each pair.
    """

    name: str
    hub_name: str
    splits: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], list[PairToJudge]]
    score: Callable[[Sequence[list[JudgedPair]], int], Summary]
    has_order: bool = False

    def load(
        self, *, split: str | None = None, source: str | None = None, seed: int = 0,
        n_items: int | None = None, skips: SkipCounter, max_skipped_share: float = 0.0,
    ) -> list[PairToJudge]:  # fmt: skip
        """The pairs of all items, in the order of the file; a pair whose texts return in another place returns too.

        Args:
            split: of the hub's data set.
            source: a local file, folder or glob with rows of the published format instead of the hub.
            seed: of which reply is A in the original order, and of the choice of items.
            n_items: so many published rows in seeded choice, all pairs of each; None for all.
            skips: counts the rows kept and, by reason, those left out.
            max_skipped_share: 0 to 1; more rows left out is an error.

        Raises:
            ValueError: an unknown split, a malformed file, too many unusable rows, or no usable one.
            OSError: the hub cannot be reached.
        """
        split = split or self.splits[0]
        if split not in self.splits:
            raise ValueError(f"unknown split {split!r} of {self.name}; {nearest(split, self.splits)}")
        rows = rows_from(source, self.hub_name, split)
        known: dict[str, str] = {}
        items = [item for _, item in parse_rows(rows, lambda row: self._item(row, known), skips, max_skipped_share)]
        skips.check(max_skipped_share)
        if not items:
            raise ValueError(f"{source or self.hub_name}: no usable row for {self.name}")
        order = range(len(items))
        if n_items is not None:
            order = sorted(heapq.nsmallest(n_items, order, key=lambda index: _key("item", seed, str(index))))
        return [
            replace(self._placed(pair, seed), meta={**pair.meta, ITEM: index})
            for index in order for pair in items[index]
        ]  # fmt: skip

    def evaluate(self, pairs: Sequence[PairToJudge], rows: Sequence[JudgedRow], seed: int = 0) -> Summary:
        """The benchmark's own numbers for verdicts on both orders of `pairs`; rows on other pairs are passed over.

        Raises:
            ValueError: a pair that was not judged in both orders, or rows that contradict each other.
        """
        judged: dict[int, list[JudgedPair]] = {}
        found = {}
        for original, swapped in checked_pairs(rows):
            if original is not None and swapped is not None:
                found[original.pair_id] = original, swapped
        for pair in pairs:
            if pair.pair_id not in found:
                missing = sum(one.pair_id not in found for one in pairs)
                raise ValueError(
                    f"{missing} of {len(pairs)} pairs of {self.name} were not judged in both orders, the first is "
                    f"{pair.pair_id}; use the same split, source and n_items as for asking"
                )
            judged.setdefault(pair.meta[ITEM], []).append(JudgedPair(pair, *found[pair.pair_id]))
        return self.score(list(judged.values()), seed)

    def _item(self, row: Mapping[str, Any], known: dict[str, str]) -> list[PairToJudge]:
        pairs = self.read(row)
        for pair in pairs:
            # The prompt shows texts without the white space around them.
            if pair.responses[0].strip() == pair.responses[1].strip():
                raise RowError("identical_replies", "a better and a worse reply have the same text")
        better = {pair.pair_id: pair.responses["AB".index(pair.label)] for pair in pairs}
        for key, text in better.items():
            if known.get(key, text) != text:
                raise RowError("contradicts_another_row", "an earlier row has the same two replies the other way round")
        known.update(better)
        return pairs

    def _placed(self, pair: PairToJudge, seed: int) -> PairToJudge:
        # A function of the seed and the texts alone, so that equal pairs of different rows have one original order.
        return pair if self.has_order or not _key("first", seed, pair.pair_id)[0] & 1 else pair.swap()


def distinct(pairs: Sequence[PairToJudge]) -> list[PairToJudge]:
    """Each pair once: what a judge is asked, however often its texts stand in the benchmark."""
    return list({pair.pair_id: pair for pair in reversed(pairs)}.values())[::-1]


def chosen_and_rejected(row: Mapping[str, Any]) -> tuple[str, list[str], list[str]]:
    """Prompt, right replies and wrong replies of a row in the manner of RewardBench, at least one of each.

    Raises:
        RowError: a missing field, a list without texts, or an empty text.
    """
    return require_text(row, "prompt"), _texts(row, "chosen"), _texts(row, "rejected")


def pairs_against(
    prompt: str, chosen: Sequence[str], rejected: Sequence[str], *, source: str, subset: str, **meta: Any
) -> Iterator[PairToJudge]:
    """Every right reply against every wrong one, the right one first; the indices of both join `meta`."""
    conversation = ({"role": "user", "content": prompt},)
    for i, right in enumerate(chosen):
        for j, wrong in enumerate(rejected):
            place = {"chosen_index": i, "rejected_index": j}
            yield PairToJudge(conversation, (right, wrong), "A", subset=subset, source=source, meta={**place, **meta})


def _texts(row: Mapping[str, Any], name: str) -> list[str]:
    values = require(row, name)
    if not isinstance(values, list) or not values:
        raise RowError("wrong_type", f"field {name!r} must be a list of texts, found {values!r:.80}")
    return [require_text({name: value}, name) for value in values]


def _key(purpose: str, seed: int, name: str) -> bytes:
    # A keyed hash instead of a random generator: no state, so neither order nor number of the rows matters.
    return blake2b(f"{purpose} {seed} {name}".encode(), digest_size=8).digest()
