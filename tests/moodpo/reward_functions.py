"""Rewards of the trainer's tests: deterministic, and without ties between different answers."""

import hashlib

from trl_ext.online_dpo.prompts import completion_text, last_user_text

CALLS: list[tuple[str, list, list[str]]] = []


def _digest(salt: str, prompts, completions) -> list[float]:
    texts = [f"{salt}|{last_user_text(p)}|{completion_text(c)}" for p, c in zip(prompts, completions, strict=True)]
    CALLS.append((salt, list(prompts), [completion_text(c) for c in completions]))
    return [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32 for text in texts]


def first(prompts, completions):
    return _digest("first", prompts, completions)


def second(prompts, completions):
    return [100 * value - 7 for value in _digest("second", prompts, completions)]


def constant(prompts, completions):
    return [1.0] * len(completions)


def broken(prompts, completions):
    """No score for prompts with a question mark."""
    values = _digest("broken", prompts, completions)
    return [None if "?" in last_user_text(p) else v for p, v in zip(prompts, values, strict=True)]
