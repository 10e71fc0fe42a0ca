"""How a conversation becomes tokens: by the tokenizer's own chat template, or by a template of ms-swift.

The first needs transformers alone and is the same in every environment. The second is for models that ms-swift trained,
and for whoever asks for it by `--template` or `--model_type`.
"""

import copy
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Protocol, Self

from datasets_builders.messages import Messages
from trl_ext.online_dpo.prompts import policy_prompt

IGNORED = -100

EncodedRow = tuple[list[int], list[int]]


class Form(Protocol):
    """Conversations as tokens.

    Attributes:
        stop_ids: tokens that end an answer.
        max_length: longest encoded row, in tokens.
    """

    tokenizer: Any
    stop_ids: list[int]
    max_length: int

    def encode_prompt(self, messages: Messages) -> list[int]:
        """Tokens (T,) of the conversation up to where the answer starts. Never truncated.

        Raises:
            ValueError: the messages do not fit the template.
        """
        ...

    def encode_pair_row(self, messages: Messages) -> EncodedRow:
        """Tokens and labels, both (T,), of a conversation that ends with the answer to score.

        Labels are -100 on the prompt; the answer and the end that training appends to it are scored.

        Raises:
            ValueError: no answer at the end, or more than `max_length` tokens.
        """
        ...


class Speaking:
    """A loaded model that holds its conversations in a form."""

    form: Form

    def speaking(self, form: Form) -> Self:
        """The same model with its conversations in another form; nothing is loaded again."""
        other = copy.copy(self)
        other.form = form
        return other

    @property
    def tokenizer(self) -> Any:
        """That of the form."""
        return self.form.tokenizer


def check_swift(asked: Mapping[str, Any]) -> None:
    """Refuses a request for ms-swift's templates where there is no ms-swift.

    Args:
        asked: who asks (a flag, or the file of a run) -> what for; None asks for nothing.

    Raises:
        ValueError: naming who asked, and where to find ms-swift.
    """
    named = [f"{who} {value}" for who, value in asked.items() if value is not None]
    if named and find_spec("swift") is None:
        raise ValueError(
            f"{', '.join(named)}: this needs ms-swift, which is not in this environment; use the environment that "
            "has it (pip install 'swift-trl-ext[swift]'), or name neither --model_type nor --template, and the "
            "tokenizer's own chat template is used"
        )


class TokenizerForm:
    """Conversations by the tokenizer's own chat template; a single prompt as text where it has none.

    Args:
        kind: None, or how the online trainers write single prompts: `assistant` (transcripts stay texts) or `summary`
            (prompts are posts).
        system: message for conversations that have none.
        stop_ids, max_length: see `Form`.
        use_chat_template: off, every prompt is a text.
        enable_thinking: handed to the template unless None.
    """

    def __init__(
        self,
        tokenizer: Any,
        kind: str | None = None,
        *,
        system: str | None = None,
        stop_ids: list[int] | None = None,
        max_length: int = 0,
        use_chat_template: bool = True,
        enable_thinking: bool | None = None,
    ):
        self.tokenizer, self.kind, self.system = tokenizer, kind, system
        self.stop_ids, self.max_length = stop_ids or [], max_length
        self.has_template = use_chat_template and tokenizer.chat_template is not None
        self.more = {} if enable_thinking is None else {"enable_thinking": enable_thinking}

    def plain(self, messages: Messages) -> str | Messages:
        """The prompt as messages, or as a text: transcripts of a `kind`, and prompts without a chat template.

        Raises:
            ValueError: a conversation for a tokenizer without a chat template.
        """
        single = len(messages) == 1 and messages[0]["role"] == "user"
        if single and self.kind is not None:
            return policy_prompt(messages[0]["content"], self.kind, self.has_template)
        if self.has_template:
            system = [] if self.system is None or messages[0]["role"] == "system" else [self.system]
            return [*({"role": "system", "content": text} for text in system), *messages]
        if not single or self.system is not None:
            raise ValueError("the tokenizer has no chat template: only single prompts are possible, not conversations")
        return messages[0]["content"]

    def encode(self, prompt: str | Messages) -> list[int]:
        """Tokens (T,) up to where the answer starts."""
        if isinstance(prompt, str):
            # The online trainers add no special token to a text; a language model's own beginning belongs to others.
            return self.tokenizer(prompt, add_special_tokens=self.kind is None)["input_ids"]
        return self._tokens(self._written(prompt, add_generation_prompt=True))

    def written(self, messages: Messages) -> str | Messages:
        """The prompt as the policy reads it."""
        return self.plain(messages)

    def encode_prompt(self, messages: Messages) -> list[int]:
        """See `Form`."""
        return self.encode(self.written(messages))

    def encode_pair_row(self, messages: Messages) -> EncodedRow:
        """See `Form`."""
        *before, answer = messages or [{"role": ""}]
        if answer["role"] != "assistant" or not before:
            raise ValueError("a row to score must end with an assistant message, after its prompt")
        prompt = self.written(before)
        if isinstance(prompt, str):
            end = self.tokenizer.eos_token_id
            scored = self._tokens(answer["content"]) + ([] if end is None else [end])
        else:
            start = self._written(prompt, add_generation_prompt=True)
            whole = self._written([*prompt, answer], add_generation_prompt=False)
            if not whole.startswith(start):
                raise ValueError("the chat template writes a prompt with its answer in another way than without it")
            scored = self._tokens(whole[len(start) :])
        ids = self.encode(prompt)
        if self.max_length and len(ids) + len(scored) > self.max_length:
            raise ValueError(f"{len(ids) + len(scored)} tokens, above --max_length {self.max_length}")
        return ids + scored, [IGNORED] * len(ids) + scored

    def _tokens(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _written(self, messages: Messages, add_generation_prompt: bool) -> str:
        from jinja2 import TemplateError

        try:
            return self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt, **self.more
            )
        except TemplateError as error:
            raise ValueError(f"the messages do not fit the chat template: {error}") from error


class SwiftForm:
    """Conversations by a template of ms-swift. See `Form`.

    Args:
        template: what `swift.template.get_template` gives.
    """

    def __init__(self, template: Any):
        self.template, self.tokenizer = template, template.tokenizer
        ids = {template.template_meta.stop_token_id, self.tokenizer.eos_token_id}
        self.stop_ids = sorted(token for token in ids if token is not None)
        self.max_length = template.max_length

    def encode_prompt(self, messages: Messages) -> list[int]:
        """See `Form`."""
        self.template.set_mode("transformers")
        self.template.max_length = None
        try:
            return self._encode(messages)["input_ids"]
        finally:
            self.template.max_length = self.max_length

    def encode_pair_row(self, messages: Messages) -> EncodedRow:
        """See `Form`."""
        if not messages or messages[-1]["role"] != "assistant":
            raise ValueError("a row to score must end with an assistant message")
        self.template.set_mode("train")
        encoded = self._encode(messages)
        return encoded["input_ids"], encoded["labels"]

    def _encode(self, messages: Messages) -> dict[str, Any]:
        try:
            return self.template.encode({"messages": messages})
        except AssertionError as error:
            raise ValueError(f"the messages do not fit the template: {error}") from error
