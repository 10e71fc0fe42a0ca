"""A policy that is asked with weights, loaded with transformers and peft alone.

It serves launch.answers.backends like the policy of ms-swift does, in environments that have no ms-swift too.
"""

import copy
import json
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.answers.backends import Answer, Decoding, Item, TransformersBackend
from launch.answers.policy import resolve_adapter
from launch.answers.prompts import Prompt
from launch.answers.records import Messages, prompt_id
from launch.models.merge_lora import with_adapter
from trl_ext.modpo.model_dir import check_dtype, check_finite, resolve_model
from trl_ext.moodpo.instruction import annotate, check_names, has_system_role
from trl_ext.online_dpo.prompts import policy_prompt

STATE_FILE = "moodpo_state.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def read_settings(folder: str | Path) -> dict[str, Any] | None:
    """The settings that MOODPO's trainer saved in a checkpoint, or in the newest checkpoint of a run's folder.

    None where there are none, which is so for base models and other trainers.

    Raises:
        ValueError: a file that is there and cannot be read.
    """
    folder = Path(folder)
    inner = sorted((int(m[1]), path) for path in folder.glob("checkpoint-*") if (m := _CHECKPOINT.fullmatch(path.name)))
    for place in (folder, *(path for _, path in reversed(inner))):
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


@dataclass(frozen=True)
class PromptForm:
    """How a prompt is written for one tokenizer, as in training.

    Attributes:
        kind: `assistant`, or `summary`: prompts are posts.
    """

    tokenizer: Any
    kind: str = "assistant"

    def plain(self, messages: Messages) -> str | Messages:
        """The prompt without weights: messages, or a text for transcripts and where there is no chat template.

        Raises:
            ValueError: a conversation for a tokenizer without a chat template.
        """
        has_template = self.tokenizer.chat_template is not None
        if len(messages) == 1 and messages[0]["role"] == "user":
            return policy_prompt(messages[0]["content"], self.kind, has_template)
        if not has_template:
            raise ValueError("the tokenizer has no chat template: only single prompts are possible, not conversations")
        return list(messages)

    def asked(self, messages: Messages, names: Sequence[str], weights: Sequence[float]) -> str | Messages:
        """The prompt with its weights written into it, the text that the policy was trained to read."""
        return annotate(self.plain(messages), names, weights, system_role=has_system_role(self.tokenizer))

    def encode(self, prompt: str | Messages) -> list[int]:
        """Tokens (T,) up to where the answer starts, none added, as the trainer encodes them."""
        if not isinstance(prompt, str):
            prompt = self.tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        return self.tokenizer(prompt, add_special_tokens=False)["input_ids"]


def load_form(model: str, adapter: str | None = None, kind: str = "assistant") -> PromptForm:
    """The tokenizer of the adapter's folder where it holds one, else the model's. No weights are read."""
    from transformers import AutoTokenizer

    directory = resolve_model(model)
    own = adapter is not None and Path(resolve_adapter(adapter), "tokenizer_config.json").is_file()
    return PromptForm(AutoTokenizer.from_pretrained(adapter if own else directory, trust_remote_code=False), kind)


class ChatPolicy:
    """One model, with or without an adapter, that is asked with weights once `asking` has set them.

    Args:
        model: base model or full checkpoint, a folder or a hub name.
        adapter: folder of a LoRA adapter.
        kind: see PromptForm.
        torch_dtype: float32, bfloat16 or float16; None takes the model's own.

    Raises:
        ValueError: a path that is no model or adapter, code in the model's folder, or an adapter that does not fit.
    """

    adapters = ()  # what the backend switches; the only adapter is always on here

    def __init__(
        self, model: str, adapter: str | None = None, *, kind: str = "assistant", torch_dtype: str | None = None
    ):
        check_dtype(torch_dtype)
        self.form = load_form(model, adapter, kind)
        self.tokenizer = self.form.tokenizer
        self.names: tuple[str, ...] = ()
        self.weights: tuple[float, ...] | None = None

        import torch
        from transformers import AutoModelForCausalLM

        loaded = AutoModelForCausalLM.from_pretrained(
            resolve_model(model), dtype=torch_dtype or "auto", trust_remote_code=False
        )
        check_finite(loaded, model)
        if adapter is not None:
            loaded = with_adapter(loaded, Path(adapter))
        self.model = loaded.eval().to("cuda" if torch.cuda.is_available() else "cpu")

    def asking(self, names: Sequence[str], weights: Sequence[float]) -> "ChatPolicy":
        """The same model, asked with these weights (K,); nothing is loaded again."""
        asked = copy.copy(self)
        asked.names, asked.weights = tuple(names), tuple(weights)
        return asked

    def encode_prompt(self, messages: Messages) -> list[int]:
        """Tokens (T,) of the prompt, its weights included."""
        if self.weights is None:
            return self.form.encode(self.form.plain(messages))
        return self.form.encode(self.form.asked(messages, self.names, self.weights))

    @property
    def device(self):
        """Where the inputs go."""
        return self.model.device

    @property
    def max_length(self) -> int:
        """Longest prompt with its answer, in tokens."""
        return self.model.config.max_position_embeddings

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end an answer: the tokenizer's end token and those of the model's generation settings."""
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        return sorted({token for token in (*ends, self.tokenizer.eos_token_id) if token is not None})

    @property
    def pad_id(self) -> int:
        """A token for masked places, an end token only where there is no other."""
        candidates = [self.tokenizer.pad_token_id, *self.tokenizer.all_special_ids]
        return next(
            (token for token in candidates if token is not None and token not in self.stop_ids), self.stop_ids[0]
        )

    def using(self, adapter: None):
        """Nothing to switch."""
        return nullcontext()


def ask(policy: ChatPolicy, text: str, decoding: Decoding) -> Answer:
    """The answer to one prompt. A draw depends on the seed and the prompt, not on the weights that are asked."""
    messages = [{"role": "user", "content": text}]
    return TransformersBackend(policy, decoding).generate([Item(Prompt(prompt_id(messages), messages), 0)])[0]
