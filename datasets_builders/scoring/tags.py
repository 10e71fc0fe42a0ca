"""Whether an answer's tag comes back out of a tokenizer. No torch: a tokenizer is handed in.

`<s>` and `</s>` are the first and the last token of a text for tokenizers like those of Llama-2 and Mistral. There
`<s>72</s>` ends the answer at `</s>` and decodes to `72`: no parser finds a score, and every answer fails.
"""

from typing import Any

EXAMPLES = {"score100": "<s>72</s>", "score5": "<s>4.5</s>", "preference": "<preference>A</preference>"}


def tags_survive(tokenizer: Any, answer: str) -> bool:
    """Whether a whole tagged answer, `<s>72</s>`, is still there after encoding and decoding without special tokens.

    Args:
        tokenizer: of transformers.
        answer: one of `EXAMPLES`, or another answer that a parser can read.
    """
    ids = tokenizer.encode(answer, add_special_tokens=False)
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    return "".join(answer.split()) in "".join(decoded.split())


def swallowed_message(tokenizer: Any, answer: str) -> str | None:
    """What to tell the user about a tag that does not survive; None when it does."""
    if tags_survive(tokenizer, answer):
        return None
    ids = tokenizer.encode(answer, add_special_tokens=False)
    special = sorted({token for token in tokenizer.convert_ids_to_tokens(ids) if token in tokenizer.all_special_tokens})
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    return (
        f"the tokenizer {getattr(tokenizer, 'name_or_path', '') or type(tokenizer).__name__} takes "
        f"{', '.join(special) or 'parts'} of {answer!r} for its own special tokens: the answer decodes to {decoded!r}, and "
        "every answer would count as one without a score or verdict. Take a model whose tokenizer writes the tag as text "
        "(Qwen2.5, Qwen3, Llama-3 and SmolLM2 do)"
    )


def refuse_swallowed_tags(tokenizer: Any, answer: str) -> None:
    """Refuses a tokenizer under which no answer could be read.

    Raises:
        ValueError: the tokens that it swallows, what is left of the answer, and what to take instead.
    """
    message = swallowed_message(tokenizer, answer)
    if message is not None:
        raise ValueError(message)
