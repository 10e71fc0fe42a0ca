"""What a prompt has to be for the online methods: one check for files, data sets, trainers and the doctor. No torch."""

from collections.abc import Iterable
from typing import Any

from datasets_builders.fields import text_fault


def prompt_fault(prompt: Any) -> str | None:
    """Why a policy cannot be asked this, or None: a prompt is a text, or a list of messages whose contents are texts.

    A prompt that says nothing (`is_empty`) has no fault: scripts leave such rows out and count them.
    """
    if isinstance(prompt, str):
        return text_fault(prompt)
    if not isinstance(prompt, list) or not prompt:
        return f"{prompt!r:.80} is neither a text nor a list of messages"
    for number, message in enumerate(prompt, start=1):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return f"{prompt!r:.80} is neither a text nor a list of messages: message {number} has no role"
        content = message.get("content")
        if not isinstance(content, str):
            return f"message {number} ({message['role']}) has the content {content!r:.60}: a text is valid"
        if fault := text_fault(content):
            return f"message {number} ({message['role']}): {fault}"
    if not any(message["role"] == "user" for message in prompt):
        return f"no message of the role 'user', only {sorted({message['role'] for message in prompt})}"
    return None


def is_empty(prompt: Any) -> bool:
    """Whether a prompt without a fault asks nothing: a blank text, or a blank last user message."""
    if isinstance(prompt, str):
        return not prompt.strip()
    return not [message["content"] for message in prompt if message["role"] == "user"][-1].strip()


def kind_of(prompt: Any) -> str:
    return "a text" if isinstance(prompt, str) else "a list of messages"


def check_prompts(prompts: Iterable[Any], source: str) -> None:
    """Refuses prompts as they are about to be trained on.

    Raises:
        ValueError: ``SOURCE row N: ...`` (from 1), for a fault, an empty prompt, or another kind than the first one's: a
            batch is asked as texts or as messages.
    """
    first = None
    for number, prompt in enumerate(prompts, start=1):
        if fault := prompt_fault(prompt):
            raise ValueError(f"{source} row {number}: {fault}")
        if is_empty(prompt):
            raise ValueError(f"{source} row {number}: the prompt is empty; leave the row out")
        kind = kind_of(prompt)
        first = first or kind
        if kind != first:
            raise ValueError(f"{source} row {number} is {kind}, row 1 is {first}: prompts of one kind are valid")
