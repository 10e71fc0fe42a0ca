"""Rewards that a tiny policy learns in twenty steps: which letters an answer is made of."""

from trl_ext.online_dpo.prompts import completion_text


def share(texts, letters: str) -> list[float]:
    return [(sum(text.count(letter) for letter in letters) + 0.01 * len(set(text))) / (len(text) + 1) for text in texts]


def vowels(prompts, completions) -> list[float]:
    return share([completion_text(one) for one in completions], "aeiou")


def tall(prompts, completions) -> list[float]:
    return share([completion_text(one) for one in completions], "bdfhklt")


def gold(prompts, responses, metadata=None) -> list[float]:
    return share(responses, "aeiou")
