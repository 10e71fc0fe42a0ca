"""A policy that is asked with weights: what it was trained to read, and the objectives that it was trained for."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from datasets_builders.messages import Messages
from launch.answers.backends import Answer, Decoding, Item
from launch.answers.checkpoints import list_checkpoints
from launch.answers.engine import Engine
from launch.answers.forms import Form, TokenizerForm
from launch.answers.local import LOCAL, backend_of, load_model
from launch.answers.policy import Policy, load_tokenizer
from launch.answers.prompts import asked
from trl_ext.moodpo.instruction import annotate, check_names, has_system_role

STATE_FILE = "moodpo_state.json"


def read_settings(folder: str | Path) -> dict[str, Any] | None:
    """The settings that MOODPO's trainer saved in a checkpoint, or in the newest checkpoint of a run's folder.

    None where there are none, which is so for base models and other trainers.

    Raises:
        ValueError: a file that is there and cannot be read.
    """
    folder = Path(folder)
    for place in (folder, *reversed(list_checkpoints(folder))):
        file = place / STATE_FILE
        if file.is_file():
            try:
                settings = json.loads(file.read_text(encoding="utf-8"))["settings"]
                check_names(settings["objectives"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{file}: expected 'settings' with the names of 'objectives': {error}") from error
            return settings
    return None


def objectives_of(folder: str, given: Sequence[str] | None) -> tuple[str, ...]:
    """The objectives of a policy in the order that it was trained with.

    Raises:
        ValueError: `given` contradicts the checkpoint, or neither names them.
    """
    settings = read_settings(folder)
    if settings is None and not given:
        raise ValueError(f"{folder}: no {STATE_FILE}; name the objectives of the training, in order, with --objectives")
    if settings is None:
        check_names(given)
        return tuple(given)
    if given and list(given) != settings["objectives"]:
        raise ValueError(f"--objectives {list(given)}: {folder} was trained with {settings['objectives']}")
    return tuple(settings["objectives"])


class SteeredForm(TokenizerForm):
    """Prompts in the words of the training, with weights written into them once they are set.

    Args:
        names, weights: the objectives and what is asked of them (K,); no weights, no sentence.
        more: see `TokenizerForm`.
    """

    def __init__(
        self,
        tokenizer: Any,
        kind: str = "assistant",
        names: Sequence[str] = (),
        weights: Sequence[float] | None = None,
        **more: Any,
    ):
        super().__init__(tokenizer, kind, **more)
        self.names, self.weights = tuple(names), weights if weights is None else tuple(weights)

    def asked(self, messages: Messages, names: Sequence[str], weights: Sequence[float]) -> str | Messages:
        """The prompt with its weights written into it, the text that the policy was trained to read."""
        return annotate(self.plain(messages), names, weights, system_role=has_system_role(self.tokenizer))

    def written(self, messages: Messages) -> str | Messages:
        """The prompt as the policy reads it, its weights included once they are set."""
        return self.plain(messages) if self.weights is None else self.asked(messages, self.names, self.weights)


def load_form(model: str, adapter: str | None = None, kind: str = "assistant") -> SteeredForm:
    """The form of a policy, without weights of any kind. No file of weights is read."""
    return SteeredForm(load_tokenizer(model, adapter), kind)


def load_policy(
    model: str,
    adapter: str | None,
    kind: str = "assistant",
    torch_dtype: str | None = None,
    backend: str = LOCAL[0],
) -> Policy | Engine:
    """A policy of this machine that `asking` can ask. Errors: see `launch.answers.local.load_model`."""
    return load_model(backend, model, adapters=adapter, kind=kind, torch_dtype=torch_dtype)


class Steered(Protocol):
    """A policy with the form of its prompts: one of this machine, or `launch.moodpo.served.ServedPolicy`."""

    form: Form

    def speaking(self, form: Form) -> "Steered":
        """The same policy with its conversations in another form."""
        ...


def asking(policy: Steered, names: Sequence[str], weights: Sequence[float]) -> Steered:
    """The same model, asked with these weights (K,); nothing is loaded again."""
    form = policy.form
    return policy.speaking(
        SteeredForm(form.tokenizer, form.kind, names, weights, stop_ids=form.stop_ids, max_length=form.max_length)
    )


def ask(policy: Steered, text: str, decoding: Decoding) -> Answer:
    """The answer to one prompt. A draw depends on the seed and the prompt, not on the weights that are asked."""
    local = isinstance(policy, Policy | Engine)
    with closing(backend_of(policy, decoding) if local else policy.backend(decoding)) as backend:
        return backend.generate([Item(asked(text), 0)])[0]
