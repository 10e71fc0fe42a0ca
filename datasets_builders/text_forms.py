"""A question and its answer as one text, for language models whose tokenizer has no chat template."""

from collections.abc import Callable
from typing import Any

from datasets_builders.pairs import PreferencePair

# What stands before the answer. D2PO's discriminators and `eval-rm` read the same forms.
BEFORE_ANSWER: dict[str, Callable[[str], str]] = {
    "question_answer": lambda question: f"Question: {question}\n\nAnswer: ",
    "plain": lambda question: question,
}


def to_texts(form: str) -> Callable[[PreferencePair], dict[str, Any]]:
    """What makes a row of texts, ``prompt, chosen, rejected[, margin]``, of a pair whose prompt is one question."""

    def row(pair: PreferencePair) -> dict[str, Any]:
        (question,) = pair.prompt
        texts = {"prompt": BEFORE_ANSWER[form](question["content"]), "chosen": pair.chosen, "rejected": pair.rejected}
        return texts | ({"margin": float(pair.meta["margin"])} if "margin" in pair.meta else {})

    return row
