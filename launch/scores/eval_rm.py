"""`python -m launch eval-rm`: how often a reward model scores the preferred answer higher, with an interval."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any, NamedTuple

from datasets_builders.beside import made_beside
from datasets_builders.choices import positive_integer
from datasets_builders.command_line import Parser
from datasets_builders.io import write_json
from datasets_builders.pair_rows import read_pair
from datasets_builders.pairs import Message, PreferencePair
from datasets_builders.source import each_row
from launch.cli.flags import add_batch_size, add_torch_dtype
from launch.cli.verbs import verb_parser
from launch.common.statistics import Estimate, bootstrap_mean_interval, share
from launch.models.merge_rm import merge_reward_model

FORMS = ("chat", "question_answer", "plain")


class Verdicts(NamedTuple):
    """What a reward model said about n pairs.

    Attributes:
        n, wins, ties: numbers of pairs.
        accuracy: wins / n (a tie is no win), with Wilson's interval.
        mean_gap: score of the chosen minus score of the rejected answer, with its bootstrap interval.
    """

    n: int
    wins: int
    ties: int
    accuracy: Estimate
    mean_gap: Estimate

    def as_json(self) -> dict[str, Any]:
        """All of it, the estimates as `{value, low, high, n}`."""
        return {**self._asdict(), "accuracy": self.accuracy.as_json(), "mean_gap": self.mean_gap.as_json()}


def judge(chosen: Sequence[float], rejected: Sequence[float], seed: int = 0) -> Verdicts:
    """The verdicts from the scores of both sides, (n,) each.

    Raises:
        ValueError: no pairs, lists of different length, or a score that is not finite (its pair is named, from 1).
    """
    for number, scores in enumerate(zip(chosen, rejected, strict=True), start=1):
        if not all(map(math.isfinite, scores)):
            raise ValueError(f"pair {number}: the scores are {scores[0]} and {scores[1]}, not finite numbers")
    gaps = [better - worse for better, worse in zip(chosen, rejected, strict=True)]
    if not gaps:
        raise ValueError("no pairs to judge")
    wins = sum(gap > 0 for gap in gaps)
    return Verdicts(
        n=len(gaps),
        wins=wins,
        ties=sum(gap == 0 for gap in gaps),
        accuracy=share(wins, len(gaps)),
        mean_gap=bootstrap_mean_interval(gaps, seed),
    )


def read_preference(source: str | Path) -> Iterator[PreferencePair]:
    """The pairs of a file, folder or glob; which rows are pairs, see `datasets_builders.pair_rows`.

    Raises:
        ValueError: `FILE:LINE: ...` for a row that is no pair, or whose sides have no prompt in common.
    """
    return (pair for _, pair in each_row(source, read_pair))


def score_pairs(
    reward: Any, pairs: Sequence[PreferencePair], form: str, batch_size: int = 8
) -> tuple[list[float], list[float]]:
    """Scores of the chosen and of the rejected answers, (n,) each.

    Args:
        reward: a `trl_ext.modpo.classifier.ClassifierReward`.
        form: one of FORMS; `chat` is how both upstreams train on conversations.
    """
    rows = [_encode(reward, pair.prompt, text, form) for pair in pairs for text in (pair.chosen, pair.rejected)]
    scores = reward.score(rows, batch_size, "scores").tolist()
    return scores[::2], scores[1::2]


def _encode(reward: Any, prompt: list[Message], response: str, form: str) -> dict[str, list[int]]:
    if form == "chat":
        return reward.encode(prompt, response)
    from trl_ext.d2po.discriminator_text import TextEncoder

    if len(prompt) != 1:
        raise ValueError(f"--text_form {form} takes single questions; this prompt has {len(prompt)} messages")
    ids = TextEncoder(reward.tokenizer, form, reward.max_length).encode(prompt[0]["content"], response).ids
    return {"input_ids": ids, "attention_mask": [1] * len(ids)}


@contextmanager
def full_model(folder: str, model: str | None) -> Iterator[str]:
    """`folder` itself, or for an adapter a merged copy that is there within the block only."""
    if not (Path(folder) / "adapter_config.json").is_file():
        if model is not None:
            raise ValueError(f"--base {model}: {folder} is no adapter and needs no base model")
        yield folder
        return
    with made_beside(Path(gettempdir(), "eval-rm"), lambda place: place.mkdir(0o700)) as place:
        merge_reward_model(Path(folder), place / "merged", model)
        yield str(place / "merged")


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("eval-rm", __doc__)
    parser.add_argument("--model", required=True, metavar="FOLDER", help="reward model, or a LoRA adapter of one")
    parser.add_argument("--base", metavar="PATH", help="base model of the adapter (default: the one it names)")
    parser.add_argument("--data", required=True, metavar="FILE", help="held-out pairs in either upstream's format")
    parser.add_argument("--text_form", choices=FORMS, default="chat", help="the same as in training (default chat)")
    parser.add_argument("--max_length", type=positive_integer, help="tokens; longer texts lose their beginning")
    add_torch_dtype(parser)
    add_batch_size(parser, 8, "answers scored at once")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="also write the outcome here")
    return parser


def main(argv: list[str]) -> int:
    """Exit status 0 when every pair is scored."""
    args = make_parser().parse_args(argv)
    pairs = list(read_preference(args.data))
    if not pairs:
        raise ValueError(f"{args.data}: no pairs")
    from trl_ext.modpo.classifier import ClassifierReward

    with full_model(args.model, args.base) as folder:
        reward = ClassifierReward(folder, 0, None, args.max_length, torch_dtype=args.torch_dtype)
    if reward.model.config.num_labels != 1:
        raise ValueError(f"{args.model}: {reward.model.config.num_labels} outputs, a reward model has one")
    if args.text_form == "chat" and reward.tokenizer.chat_template is None:
        raise ValueError(f"{args.model}: the tokenizer has no chat template; use --text_form question_answer or plain")
    verdicts = judge(*score_pairs(reward, pairs, args.text_form, args.batch_size))
    if args.out is not None:
        told = {"model": args.model, "data": args.data, "text_form": args.text_form}
        write_json(args.out, told | verdicts.as_json())
    accuracy = verdicts.accuracy
    print(
        f"accuracy {accuracy.value:.4f} [{accuracy.low:.4f}, {accuracy.high:.4f}], n {verdicts.n}, ties {verdicts.ties}"
    )
    return 0
