"""K reward models or functions behind one call. Everything that a trainer or a script needs of rewards is found here."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from datasets_builders.model_names import merged_reward_model, refuse_missing_folder
from datasets_builders.python_names import function_at
from trl_ext.objectives.text import FUNCTIONS, get_text_function
from trl_ext.online_dpo.prompts import Prompt, completion_text, last_user_text

from .normaliser import Normaliser, read_statistics, scalarise
from .specs import REGISTRY, RewardSpec, get_reward_specs

__all__ = [
    "REGISTRY",
    "Normaliser",
    "RewardBundle",
    "RewardSpec",
    "check_sources",
    "get_reward_specs",
    "load_function",
    "read_statistics",
    "scalarise",
]

_COUNTS_TOKENS = "negative_response_tokens"


class RewardBundle:
    """All objectives of a run: `names` in order, `not_finite` {name: number of scores so far that were NaN or infinite}.

    Functions and folders are checked before the first model is loaded. Models are frozen and live on `device`.

    Args:
        specs: the objectives, see `get_reward_specs`.
        device: of the classifiers.
        dtype: of the classifiers, a torch dtype or its name; None takes each model's own.
        batch_size: rows in one forward.
        trust_remote_code: whether Python code in a model's folder may run.

    Raises:
        ValueError: a function that cannot be imported, or a model that cannot be used (see RewardModel).
    """

    def __init__(
        self,
        specs: Sequence[RewardSpec],
        *,
        device: Any = "cpu",
        dtype: Any = None,
        batch_size: int = 8,
        trust_remote_code: bool = False,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        check_sources(specs)
        from .reward_model import RewardModel

        self.specs, self.batch_size = list(specs), batch_size
        self.names = [spec.name for spec in self.specs]
        self.not_finite = dict.fromkeys(self.names, 0)
        self.functions = {spec.name: load_function(spec) for spec in self.specs if spec.kind == "function"}
        torch_dtype = None if dtype is None else str(dtype).removeprefix("torch.")
        settings = {"device": device, "torch_dtype": torch_dtype, "trust_remote_code": trust_remote_code}
        self.models = {spec.name: RewardModel(spec, **settings) for spec in self.specs if spec.kind == "classifier"}

    def score(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Prompt],
        *,
        response_tokens: Sequence[int] | None = None,
        what: str = "",
    ) -> np.ndarray:
        """(N, K) float64 raw scores; each model passes once over the rows.

        Args:
            prompts: N texts or lists of messages as they were before the weights were written into them.
            completions: N texts or lists of assistant messages, without special tokens.
            response_tokens: N token counts, end token included; only `negative_response_tokens` needs them.
            what: names the work in a progress bar for each model; none without.

        Returns:
            NaN where a score is not a finite number, counted in `not_finite`.

        Raises:
            ValueError: lists of different length, or a function that returns another number of scores.
        """
        if len(prompts) != len(completions):
            raise ValueError(f"{len(prompts)} prompts and {len(completions)} completions")
        texts = [completion_text(completion) for completion in completions]
        scores = np.empty((len(texts), len(self.specs)))
        for k, spec in enumerate(self.specs):
            if spec.kind == "classifier":
                model = self.models[spec.name]
                rows = [model.encode(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
                scores[:, k] = model.score(rows, self.batch_size, what and f"{what}, {spec.name}").double().numpy()
            else:
                scores[:, k] = self._call(spec, prompts, texts, response_tokens)
            wrong = ~np.isfinite(scores[:, k])
            scores[wrong, k] = np.nan
            self.not_finite[spec.name] += int(wrong.sum())
        return scores

    def _call(
        self, spec: RewardSpec, prompts: Sequence[Prompt], texts: list[str], response_tokens: Sequence[int] | None
    ) -> list[float]:
        function = self.functions[spec.name]
        if spec.source not in FUNCTIONS:
            values = function(prompts, texts)
        elif response_tokens is None and spec.source == _COUNTS_TOKENS:
            raise ValueError(f"{spec.name!r} counts tokens: score needs response_tokens")
        else:
            values = function([last_user_text(prompt) for prompt in prompts], texts, response_tokens=response_tokens)
        values = [np.nan if value is None else float(value) for value in values]
        if len(values) != len(texts):
            raise ValueError(f"reward {spec.name!r} returned {len(values)} scores for {len(texts)} completions")
        return values


def check_sources(specs: Sequence[RewardSpec]) -> None:
    """Refuses objectives that cannot be there, before a model is loaded; functions are imported, folders looked for.

    Raises:
        ValueError: a function that cannot be imported or used, or a folder that is not there.
    """
    for spec in specs:
        if spec.kind == "function":
            load_function(spec)
    for spec in specs:
        if spec.kind == "classifier":
            refuse_missing_folder(spec.source, f"reward {spec.name!r}", merged_reward_model(spec.source))


def load_function(spec: RewardSpec) -> Callable[..., list[float]]:
    """The Python function behind a specification of kind `function`.

    Raises:
        ValueError: the module or the name in it is not there, or it is not callable; or what the module says where
            it hands out no function, see `launch.judge.reward`.
    """
    if spec.source in FUNCTIONS:
        return get_text_function(spec.source)
    return function_at(spec.source, f"reward {spec.name!r}: {spec.source}", ("prompts", "completions"))
