"""Gold functions of the tests: deterministic, of one answer alone."""

from collections.abc import Sequence

CALLS: list[str] = []


def letters(prompts: Sequence[str], responses: Sequence[str], metadata=None) -> list[float]:
    """A made-up taste that depends on prompt and answer."""
    CALLS.extend(responses)
    return [float(sum(ord(letter) for letter in prompt + response) % 17) for prompt, response in zip(prompts, responses, strict=True)]
