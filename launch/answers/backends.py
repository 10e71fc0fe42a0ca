"""What turns a batch of prompts into answers, and how they are drawn. A server is in `launch.answers.server`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from launch.answers.forms import Form
from launch.answers.policy import Policy
from launch.answers.prompts import Prompt
from launch.answers.records import NO_COUNTS
from launch.answers.sampling import RowwiseSampler, draw_seed

# Kinds of a `problem` whose text can be used as it is.
USABLE = ("half_character", NO_COUNTS)


@dataclass(frozen=True)
class Decoding:
    """How answers are drawn. `top_k` 0 is all tokens; None too where a local model draws, and a server's own default else.

    Raises:
        ValueError: a value out of range, or one that has no effect because `do_sample` is off.
    """

    max_new_tokens: int = 256
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    num_samples: int = 1
    seed: int = 0

    def __post_init__(self):
        if self.max_new_tokens < 1 or self.num_samples < 1:
            raise ValueError("--max_new_tokens and --num_samples must be at least 1")
        if not self.temperature > 0 or not 0 < self.top_p <= 1:
            raise ValueError("--temperature must be positive (greedy is: no --do_sample) and --top_p in (0, 1]")
        if self.top_k is not None and self.top_k < 0:
            raise ValueError("--top_k must be at least 1, or 0 for all tokens")
        if not self.repetition_penalty > 0 or self.no_repeat_ngram_size < 0:
            raise ValueError("--repetition_penalty must be positive and --no_repeat_ngram_size not negative")
        if not self.do_sample and (self.temperature, self.top_p, self.top_k, self.num_samples) != (1.0, 1.0, None, 1):
            raise ValueError("--temperature, --top_p, --top_k and --num_samples have no effect without --do_sample")


class Item(NamedTuple):
    """One answer to draw: the prompt and the index of the sample."""

    prompt: Prompt
    sample: int


@dataclass(frozen=True)
class Answer:
    """One drawn answer. Counts are tokens; `response_tokens` includes the end token when there is one.

    `problem` says what is odd about a server's answer, or why it is missing; its first word is the kind.
    """

    response: str
    response_tokens: int
    prompt_tokens: int
    prompt_truncated: bool
    capped: bool
    problem: str = ""


def is_failed(problem: str | None) -> bool:
    """Whether such a `problem` leaves no text to use."""
    return bool(problem) and problem.partition(":")[0] not in USABLE


Keep = Callable[[Sequence[Item], Sequence[Answer]], None]


class Backend(Protocol):
    """Draws answers batch by batch.

    Attributes:
        whole_batches: an answer depends on its batch, so that a batch of which a part is there is drawn as a whole.
        own_batches: it is given everything at once and batches by itself.
    """

    whole_batches: bool
    own_batches: bool

    def length(self, prompt: Prompt) -> int:
        """By which prompts are sorted into batches of similar cost."""
        ...

    def generate(self, items: Sequence[Item]) -> list[Answer]:
        """One answer an item, in order."""
        ...

    def draw(self, items: Sequence[Item], keep: Keep) -> list[tuple[Item, Answer]]:
        """Gives answers to `keep` as they come; returns the items without one, with what is known of them."""
        ...

    def close(self) -> None:
        """Releases connections."""
        ...


class Spoken(Protocol):
    """A model in this process with the form of its conversations."""

    form: Form


class LocalBackend:
    """What the back ends of a model in this process share: prompts become tokens, and tokens answers, in one way.

    Args:
        model: its form writes the prompts.
        max_input_length: prompts above it lose their first tokens; None leaves what the model's limit allows.

    Raises:
        ValueError: `max_new_tokens` leaves no room for a prompt.
    """

    def __init__(self, model: Spoken, decoding: Decoding, max_input_length: int | None = None):
        self.form, self.decoding = model.form, decoding
        self.limit = max_input_length or self.form.max_length - decoding.max_new_tokens
        if self.limit < 1:
            raise ValueError(
                f"--max_new_tokens {decoding.max_new_tokens} leaves no room in {self.form.max_length} tokens"
            )
        self._encoded: dict[str, list[int]] = {}

    def _encode(self, prompt: Prompt) -> list[int]:
        if prompt.prompt_id not in self._encoded:
            self._encoded[prompt.prompt_id] = self.form.encode_prompt(prompt.messages)
        return self._encoded[prompt.prompt_id]

    def _seen(self, prompt: Prompt) -> list[int]:
        """The tokens that the model is given."""
        return self._encode(prompt)[-self.limit :]

    def length(self, prompt: Prompt) -> int:
        """Tokens the model will see."""
        return min(len(self._encode(prompt)), self.limit)

    def _answer(self, item: Item, tokens: Sequence[int]) -> Answer:
        """The answer of generated tokens; from the first end token on, nothing counts."""
        end = next((place for place, token in enumerate(tokens) if token in self.form.stop_ids), None)
        text = self.form.tokenizer.decode(tokens[:end], skip_special_tokens=True)
        count = len(tokens) if end is None else end + 1
        whole, seen = len(self._encode(item.prompt)), self.length(item.prompt)
        return Answer(text, count, seen, seen < whole, end is None)

    def close(self) -> None:
        """Nothing to release: the model belongs to whoever loaded it."""


class TransformersBackend(LocalBackend):
    """Batched generation with a local model; its one adapter, when it has any, is used. See `LocalBackend`."""

    # Padding is part of the arithmetic.
    whole_batches = True
    own_batches = False

    def __init__(self, policy: Policy, decoding: Decoding, max_input_length: int | None = None):
        super().__init__(policy, decoding, max_input_length)
        self.policy = policy
        self.adapter = policy.adapters[0] if policy.adapters else None

    def generate(self, items: Sequence[Item]) -> list[Answer]:
        """One answer an item, in order."""
        import torch
        from transformers import LogitsProcessorList

        from trl_ext.shared_prefix.prefill import prefilled

        policy, decoding = self.policy, self.decoding
        kept = [self._seen(item.prompt) for item in items]
        width = max(map(len, kept))
        input_ids = torch.tensor([[policy.pad_id] * (width - len(ids)) + ids for ids in kept])
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in kept])
        processors = LogitsProcessorList()
        if decoding.do_sample:
            seeds = [draw_seed(decoding.seed, item.prompt.prompt_id, item.sample) for item in items]
            processors.append(
                RowwiseSampler(seeds, policy.device, decoding.temperature, decoding.top_p, decoding.top_k or None)
            )
        rows = {"input_ids": input_ids.to(policy.device), "attention_mask": mask.to(policy.device)}
        with torch.no_grad(), policy.using(self.adapter):
            output = policy.model.generate(
                **rows,
                **prefilled(policy.model, **rows),
                generation_config=self._config(),
                logits_processor=processors,
            )
        answers = output[:, width:].tolist()
        return [self._answer(item, tokens) for item, tokens in zip(items, answers, strict=True)]

    def draw(self, items: Sequence[Item], keep: Keep) -> list[tuple[Item, Answer]]:
        """Gives `keep` the batch; there is no item without an answer."""
        keep(items, self.generate(items))
        return []

    def _config(self):
        from transformers import GenerationConfig

        # A model may ship its own sampling defaults, which transformers fills into every field left unset: set them all.
        return GenerationConfig(
            max_new_tokens=self.decoding.max_new_tokens,
            do_sample=False,
            num_beams=1,
            temperature=1.0,
            top_p=1.0,
            top_k=50,
            repetition_penalty=self.decoding.repetition_penalty,
            no_repeat_ngram_size=self.decoding.no_repeat_ngram_size,
            eos_token_id=self.policy.stop_ids,
            pad_token_id=self.policy.pad_id,
            bos_token_id=self.policy.tokenizer.bos_token_id,
        )
