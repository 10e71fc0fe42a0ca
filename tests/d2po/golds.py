"""Gold functions of the tests: deterministic, of one answer alone."""

from collections.abc import Sequence

CALLS: list[str] = []


def letters(prompts: Sequence[str], responses: Sequence[str], metadata=None) -> list[float]:
    """A made-up taste that depends on prompt and answer."""
    CALLS.extend(responses)
    return [
        float(sum(ord(letter) for letter in prompt + response) % 17)
        for prompt, response in zip(prompts, responses, strict=True)
    ]


def constant(prompts: Sequence[str], responses: Sequence[str], metadata=None) -> list[float]:
    return [1.0] * len(responses)


def broken(prompts: Sequence[str], responses: Sequence[str], metadata=None) -> list[float]:
    return [float("nan")] * len(responses)


def fine(prompts: Sequence[str], responses: Sequence[str], metadata=None) -> list[float]:
    """Without ties between different answers, or nearly so."""
    texts = [prompt + response for prompt, response in zip(prompts, responses, strict=True)]
    return [float(sum((place + 1) * ord(letter) for place, letter in enumerate(text)) % 9973) for text in texts]
