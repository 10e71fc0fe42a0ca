"""A pairwise judge as a reward function: for TRL's `--reward_funcs` and for MOODPO's `--reward_models`.

    PAIRWISE_JUDGE_CONFIG=judge.yaml trl grpo --reward_funcs launch.judge.reward.judge_win_rate ...
    PAIRWISE_JUDGE_CONFIG=judge.yaml python -m trl_ext.moodpo.script --reward_models \\
        better=launch.judge.reward:judge_win_rate ...

Neither host hands arguments to a function, therefore a YAML file says who judges; its keys are those of
`reward_settings.RewardSettings`. The key of a server is read from OPENAI_API_KEY only. The file is read when a function
is asked for by its name, which a host does before it loads a model; the judge is loaded at the first call.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from datasets_builders.choices import did_you_mean
from datasets_builders.judging.prompt import PairwisePrompt
from datasets_builders.teacher.collect import FAILURES_IN_A_ROW
from launch.answers.backends import Answer, Backend, Decoding, Item, TransformersBackend
from launch.answers.prompts import asked
from launch.answers.server import REFUSED, UNANSWERED, OpenAIBackend
from launch.judge.reward_settings import VARIABLE, RewardSettings, judge_of_environment
from trl_ext.online_dpo.prompts import Prompt as Conversation
from trl_ext.pairwise_judge.judge_reward import JudgeReward

__all__ = ["VARIABLE", "asker", "backend_maker", "make_reward"]

logger = logging.getLogger(__name__)


def make_reward(settings: RewardSettings, method: str) -> JudgeReward:
    """The reward function; loads the judge. Errors: see `JudgeReward` and the backends."""
    return JudgeReward(
        asker(backend_maker(settings), settings.batch_size),
        PairwisePrompt(rubric=tuple(settings.rubric), thinking=settings.thinking, ties=settings.ties),
        method,
        settings.rounds,
        settings.both_orders,
        settings.missing,
        settings.seed,
    )


def backend_maker(settings: RewardSettings) -> Callable[[], Backend]:
    """Gives what draws the answers; a local model is loaded here, once, by transformers and peft without ms-swift."""
    decoding = Decoding(max_new_tokens=settings.max_new_tokens)
    if settings.base_url:
        server = OpenAIBackend(settings.base_url, settings.api_model, decoding, rpm_limit=settings.rpm_limit)
        return lambda: server
    from launch.answers.policy import Policy

    policy = Policy(settings.model, adapters=settings.adapter, torch_dtype=settings.torch_dtype)
    # One backend a call: it keeps the tokens of every prompt that it has seen, and a training run has no end of them.
    return lambda: TransformersBackend(policy, decoding)


class Patience:
    """Ends a run whose server answers nobody, and not one in which a text is refused: that text has no verdict.

    `FAILURES_IN_A_ROW` requests without an answer end it, over batches and calls. A text that the server does not take
    (too long, filtered) counts among them only until the server has answered once: later it is the text's own fault.
    """

    def __init__(self) -> None:
        self.in_a_row, self.answered = 0, False

    def see(self, answers: Sequence[Answer]) -> None:
        """Counts the answers of a batch, in order.

        Raises:
            ValueError: too many in a row are missing.
        """
        kinds = [answer.problem.partition(":")[0] for answer in answers]
        if any(kind not in (REFUSED, UNANSWERED) for kind in kinds):
            self.in_a_row, self.answered = 0, True
            return
        self.in_a_row += sum(kind == UNANSWERED or not self.answered for kind in kinds)
        if self.in_a_row >= FAILURES_IN_A_ROW:
            raise ValueError(f"{self.in_a_row} requests to the judge in a row got no answer; {answers[-1].problem}")


def asker(make_backend: Callable[[], Backend], batch_size: int) -> Callable[[list[str]], list[str]]:
    """Texts -> answers in their order, drawn `batch_size` at a time, those of similar length together."""
    patience = Patience()

    def ask(texts: list[str]) -> list[str]:
        backend = make_backend()
        items = [Item(asked(text), 0) for text in texts]
        order = sorted(range(len(items)), key=lambda place: backend.length(items[place].prompt))
        answers = {}
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            drawn = backend.generate([items[place] for place in batch])
            patience.see(drawn)
            answers |= zip(batch, drawn, strict=True)
        if shortened := sum(answer.prompt_truncated for answer in answers.values()):
            logger.warning("%d of %d texts to the judge lost their beginning: too long for it", shortened, len(texts))
        if problems := [answer.problem for answer in answers.values() if answer.problem]:
            logger.warning(
                "%d of %d answers of the judge are missing or odd: %s", len(problems), len(texts), problems[0]
            )
        return [answers[place].response for place in range(len(texts))]

    return ask


@cache
def _reward(method: str) -> JudgeReward:
    return make_reward(judge_of_environment(), method)


def _function(method: str, returned: str) -> Callable[..., list[float | None]]:
    """The reward function `judge_METHOD`; hosts log it by its name."""

    def judge(prompts: list[Conversation], completions: list[Conversation], **columns: Any) -> list[float | None]:
        return _reward(method)(prompts, completions, **columns)

    judge.__name__ = judge.__qualname__ = f"judge_{method}"
    judge.__doc__ = f"{returned} None where no verdict could be read, unless `missing` says another number."
    return judge


_FUNCTIONS = {
    "judge_win_rate": _function(
        "win_rate",
        "(N,) share of its comparisons that each completion won against those of the same prompt, in [0, 1].",
    ),
    "judge_bradley_terry": _function(
        "bradley_terry", "(N,) Bradley-Terry strengths in log-odds, with mean 0 for each prompt."
    ),
}


def __getattr__(name: str) -> Callable[..., list[float | None]]:
    """`judge_win_rate` or `judge_bradley_terry`, when the environment says who judges.

    Raises:
        ValueError: nobody judges, or nobody can, see `judge_of_environment`.
    """
    if name not in _FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{did_you_mean(name, _FUNCTIONS)}")
    judge_of_environment()
    return _FUNCTIONS[name]
