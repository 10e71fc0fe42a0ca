"""`python -m launch small-replies`: pairs of short replies with a rule that a small model can learn, and such a model.

The better of two replies is the one with more polite sentences. Texts are put together from the sentences below, so nothing
has to be fetched and the truth is known. `--kind judge` has rows of a judge of two replies, `--kind score` of one that scores a
reply at a time, in the formats of the run files of `pairwise_judge` and `bt_grpo`. The warm-up rows
are answers of a teacher who knows the form better than the rule.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from datasets_builders.beside import check_new_folder, new_folder
from datasets_builders.choices import one_of, positive_integer, whole_number
from datasets_builders.command_line import Parser
from datasets_builders.io import write_json, write_jsonl
from datasets_builders.judging.rows import PairToJudge, label_of
from launch.cli.verbs import verb_parser
from launch.reproduce.random_model import write_random_model

PLAIN = (
    "bread needs salt", "the well is deep", "trams run late", "moss likes shade", "oak is heavy", "the pass is closed",
    "boats leave early", "clay holds water", "bees fly far", "the hall is cold", "ink dries fast", "snow falls here",
)  # fmt: skip
POLITE = (
    "thank you very much", "i am so sorry", "please ask again", "glad to help", "you are welcome", "kindly take a seat",
)  # fmt: skip
MOST_POLITE = 3  # so that a difference is a strength of HelpSteer2, -3 to 3
FLIPPED = 0.2  # share of the labels of flipped.jsonl that are wrong
PARSER = "score100_last"
FORMS = (
    "Reply A: . Reply B: .",
    "<preference>A</preference>",
    "<preference>B</preference>",
    "Score: .",
    "<s>0</s>",
    "<s>1</s>",
)


class Reply(NamedTuple):
    """A text, and how many of its sentences are polite and plain."""

    text: str
    polite: int
    plain: int


class Pair(NamedTuple):
    """Two replies, one of which has more polite sentences."""

    first: Reply
    second: Reply

    @property
    def strength(self) -> int:
        """How many polite sentences the second has more, -3 to 3, never 0."""
        return self.second.polite - self.first.polite

    @property
    def key(self) -> frozenset[str]:
        """The same in either order."""
        return frozenset((self.first.text, self.second.text))


def draw_reply(draw: Random) -> Reply:
    """One to three plain sentences and up to three polite ones, in any order: length says nothing of politeness."""
    plain = draw.randint(1, 3)
    polite = sum(draw.random() < 0.36 for _ in range(MOST_POLITE))
    sentences = draw.sample(PLAIN, plain) + draw.sample(POLITE, polite)
    draw.shuffle(sentences)
    return Reply(" ".join(f"{sentence}." for sentence in sentences), polite, plain)


def draw_pairs(draw: Random) -> Iterator[Pair]:
    """Pairs without end, none twice, not in the other order either."""
    seen = set()
    while True:
        pair = Pair(draw_reply(draw), draw_reply(draw))
        if pair.strength and pair.key not in seen:
            seen.add(pair.key)
            yield pair


def asks_which(conversation: Sequence[Mapping[str, str]], first: str, second: str) -> str:
    """The prompt of the judge: shorter than the pack's own, so that a step takes less than a second."""
    return f"Reply A: {first} Reply B: {second}"


def judge_rows(pairs: Iterable[Pair], flipped: Sequence[bool]) -> Iterator[dict[str, Any]]:
    """Both orders of each pair, as `python -m datasets_builders helpsteer2-pairwise` writes them."""
    for pair, wrong in zip(pairs, flipped, strict=True):
        strength = -pair.strength if wrong else pair.strength
        replies = (pair.first.text, pair.second.text)
        yield from PairToJudge((), replies, label_of(strength), strength, source="small-replies").rows(asks_which)


def score_rows(pairs: Iterable[Pair], flipped: Sequence[bool]) -> Iterator[dict[str, Any]]:
    """Both sides of each pair, as `python -m datasets_builders pointwise` writes them."""
    for number, (pair, wrong) in enumerate(zip(pairs, flipped, strict=True)):
        for side, reply in enumerate(pair):
            yield {
                "messages": [{"role": "user", "content": f"Score: {reply.text}"}],
                "pair_id": number,
                "side": side,
                "preferred_side": int((pair.strength > 0) != wrong),
                "parser_name": PARSER,
            }


def verdict_of_teacher(row: Mapping[str, Any], draw: Random) -> str:
    """A with log-odds 1.6 (1 - strength): sure where A is better, a coin where B is better by one sentence."""
    chance = 1 / (1 + math.exp(1.6 * (row["preference_strength"] - 1)))
    return f"<preference>{'A' if draw.random() < chance else 'B'}</preference>"


def score_of_teacher(reply: Reply, draw: Random) -> str:
    """12 points, 14 for each plain sentence and 5 for each polite one, spread by 12: mostly length, a little of the rule."""
    score = round(12 + 14 * reply.plain + 5 * reply.polite + draw.gauss(0, 12))
    return f"<s>{min(max(score, 1), 99)}</s>"


def warmed(pairs: Sequence[Pair], kind: str, draw: Random) -> list[dict[str, Any]]:
    """Supervised rows: what the teacher says of both rows of each pair."""
    right = [False] * len(pairs)
    if kind == "judge":
        said = [(row, verdict_of_teacher(row, draw)) for row in judge_rows(pairs, right)]
    else:
        replies = [reply for pair in pairs for reply in pair]
        said = [
            (row, score_of_teacher(reply, draw)) for row, reply in zip(score_rows(pairs, right), replies, strict=True)
        ]
    rows = [{"messages": [*row["messages"], {"role": "assistant", "content": answer}]} for row, answer in said]
    draw.shuffle(rows)
    return rows


KINDS = {"judge": judge_rows, "score": score_rows}
LAYERS = {"judge": 3, "score": 2}  # comparing two replies takes one more


def write_replies(folder: Path, kind: str, seed: int, *, train: int, test: int) -> dict[str, Any]:
    """Fills `folder` and returns what its `replies.json` holds. A seed has its own pairs, teacher and weights."""
    draw = Random(f"small-replies {kind} {seed}")
    stream = draw_pairs(draw)
    held_out, pairs = ([next(stream) for _ in range(count)] for count in (test, train))
    flipped = [draw.random() < FLIPPED for _ in pairs]
    rows = KINDS[kind]
    write_jsonl(folder / "test.jsonl", rows(held_out, [False] * test))
    write_jsonl(folder / "train.jsonl", rows(pairs, [False] * train))
    write_jsonl(folder / "flipped.jsonl", rows(pairs, flipped))
    write_jsonl(folder / "warmup.jsonl", warmed(pairs, kind, draw))
    # Of the sentences, not of the drawn pairs: one vocabulary for all seeds.
    texts = [f" {sentence}. {sentence}." for sentence in (*PLAIN, *POLITE)]
    weights = write_random_model(folder / "model", [*texts, *FORMS], seed, layers=LAYERS[kind])
    note = {"kind": kind, "seed": seed, "train": train, "test": test, "flipped": sum(flipped), "weights": weights}
    write_json(folder / "replies.json", note)
    return note


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("small-replies", __doc__)
    parser.add_argument(
        "--kind", required=True, type=one_of(KINDS), help="judge: of two replies; score: of one at a time"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--seed", type=whole_number, default=0, help="other texts, labels, teacher and weights for each"
    )
    parser.add_argument("--train", type=positive_integer, default=4000, metavar="N", help="pairs to train on")
    parser.add_argument(
        "--test", type=positive_integer, default=300, metavar="N", help="pairs that are in no training file"
    )
    return parser


def main(argv: list[str]) -> int:
    options = make_parser().parse_args(argv)
    check_new_folder(options.out)
    with new_folder(options.out) as folder:
        note = write_replies(folder, options.kind, options.seed, train=options.train, test=options.test)
    print(f"{options.out}: {note['train']} pairs, {note['test']} to test, a model of {note['weights']:,} weights")
    return 0
