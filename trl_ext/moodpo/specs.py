"""Objectives by name: the known reward models, other classifiers, and functions."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from datasets_builders.choices import did_you_mean
from trl_ext.objectives.text import FUNCTIONS

from .instruction import check_names

Form = Literal["pair", "response", "reversed", "reply_post", "conversation"]


@dataclass(frozen=True)
class RewardSpec:
    """One objective: its name in the instruction and the logs, and where its scores come from.

    | field | meaning |
    |---|---|
    | `kind` | `classifier`, or `function` |
    | `source` | folder or hub name of the classifier; name of a text function, or `package.module:function` |
    | `form` | what a classifier reads, see below |
    | `labels` | how many logits the classifier must have; None takes any number |
    | `logit` | the one that is the score; None takes the only one |

    | form | input of the tokenizer |
    |---|---|
    | `pair` | (HH transcript of the prompt, response) |
    | `response` | response |
    | `reversed` | one text: response, space, beginning-of-text token, space, post |
    | `reply_post` | (response, post) |
    | `conversation` | prompt and response through the classifier's chat template; (last user text, response) without one |
    """

    name: str
    kind: Literal["classifier", "function"]
    source: str
    form: Form = "conversation"
    labels: int | None = None
    logit: int | None = None


def _known(name: str, source: str, form: Form, labels: int, logit: int) -> RewardSpec:
    return RewardSpec(name, "classifier", source, form, labels, logit)


REGISTRY: dict[str, RewardSpec] = {
    spec.name: spec
    for spec in (
        _known("helpful", "Ray2333/gpt2-large-helpful-reward_model", "pair", 1, 0),
        _known("harmless", "Ray2333/gpt2-large-harmless-reward_model", "pair", 1, 0),
        _known("humor", "mohameddhiab/humor-no-humor", "response", 2, 1),
        _known("summary", "Tristan/gpt2_reward_summarization", "reversed", 1, 0),
        _known("faithful", "CogComp/bart-faithful-summary-detector", "reply_post", 2, 1),
        _known("deberta", "OpenAssistant/reward-model-deberta-v3-large-v2", "pair", 1, 0),
    )
}

_FUNCTION = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_WITH_LOGIT = re.compile(r"(.+)#(\d+)")
_VALID = (
    f"one of {', '.join(REGISTRY)}; a function of trl_ext.objectives.text, one of {', '.join(FUNCTIONS)}; "
    "package.module:function; a classifier's folder or hub name with a '/', its logit behind '#'; "
    "or NAME=any of these"
)


def get_reward_specs(names: Sequence[str]) -> list[RewardSpec]:
    """The values of `--reward_models` as specifications, in order.

    | value | objective |
    |---|---|
    | `helpful` | a model of the REGISTRY |
    | `helpful=/models/helpful` | the same model from a folder: head and input stay those of the registry |
    | `brevity` | a function of `trl_ext.objectives.text` |
    | `polite=my_package.rewards:polite` | a Python function (prompts, completions) -> list of floats |
    | `safe=/models/safe#1` | another classifier, of whose logits the second is the score |

    Without `NAME=` an objective is called after the last part of its source.

    Raises:
        ValueError: an unknown name (the nearest known one is offered), one that does not fit into the instruction, or
            one given twice.
    """
    specs = [_spec(text) for text in names]
    check_names([spec.name for spec in specs])
    return specs


def _spec(text: str) -> RewardSpec:
    given, sign, source = text.partition("=")
    if not sign:
        given, source = "", text
    if sign and not (given and source):
        raise ValueError(f"reward model {text!r}: expected NAME=SOURCE")
    if source in REGISTRY:
        return replace(REGISTRY[source], name=given or source)
    if source in FUNCTIONS:
        return RewardSpec(given or source, "function", source)
    if _FUNCTION.fullmatch(source):
        return RewardSpec(given or source.rsplit(":", 1)[1], "function", source)
    marked = _WITH_LOGIT.fullmatch(source)
    path, logit = (marked[1], int(marked[2])) if marked else (source, None)
    if not (os.path.isdir(path) or "/" in path):
        hint = did_you_mean(source, [*REGISTRY, *FUNCTIONS]) or "."
        raise ValueError(f"unknown reward model {text!r}{hint} Valid: {_VALID}")
    if given in REGISTRY:
        if marked:
            raise ValueError(f"reward model {text!r}: the logit of {given!r} is known, leave '#{logit}' out")
        return replace(REGISTRY[given], source=path)
    name = given or re.sub(r"[^\w-]", "_", os.path.basename(os.path.normpath(path))).strip("_")
    return RewardSpec(name, "classifier", path, logit=logit)
