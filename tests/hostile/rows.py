"""Sound rows of every family that the readers know: what the hostile inputs are made from."""

from typing import Any

from tests.datasets_builders.helpers import RATINGS
from tests.datasets_builders.test_readers import PROMPTS, SHAPES

Row = dict[str, Any]
ASKED = [{"role": "user", "content": "Why?"}]
TURNS = "Hello\n<extra_id_1>Assistant\nHi\n<extra_id_1>User\nWhich?"


def _rated(response: str, score: int) -> Row:
    return {"prompt": TURNS, "response": response} | dict.fromkeys(RATINGS, score)


def _completion(text: str, score: int) -> Row:
    names = ("helpfulness", "honesty", "instruction_following", "truthfulness")
    return {
        "response": text,
        "overall_score": float(score),
        "annotations": {name: {"Rating": str(score)} for name in names},
    }


def _generation(label: str, sample: int, text: str) -> Row:
    return {
        "prompt_id": "0123456789abcdef", "sample": sample, "messages": ASKED, "prompt": "Why?", "response": text,
        "response_tokens": len(text.split()), "prompt_tokens": 3, "prompt_truncated": False, "capped": False, "label": label,
    }  # fmt: skip


def _judged(side: int, vote: str | None) -> Row:
    return {
        "pair_id": "p", "side": side, "ground_truth": "A" if side == 0 else "B", "preference_strength": None,
        "subset": "", "verdicts": [vote], "vote": vote, "capped": 0,
    }  # fmt: skip


FAMILIES: dict[str, list[Row]] = {
    **{f"pair: {name}": [row, row] for name, row in SHAPES.items()},
    **{f"prompt: {name}": [row, {"prompt": "How?"}] for name, row in PROMPTS.items()},
    "helpsteer": [_rated("This.", 4), _rated("That.", 1)],
    "helpsteer2": [
        {"prompt": f"{TURNS} ({split})", "response_1": "a", "response_2": "b", "preference_strength": -2, "split": split}
        for split in ("train", "validation")
    ],
    "anthropic_hh": [SHAPES["transcripts"]] * 2,
    "ultrafeedback": [{"instruction": "Why?", "completions": [_completion("This.", 4), _completion("That.", 1)]}] * 2,
    "beavertails": [
        {"prompt": "Why?", "response_0": "a", "response_1": "b", "better_response_id": 1, "safer_response_id": 0}
    ] * 2,
    "summarize_from_feedback": [
        {"info": {"post": "A post."}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 1}
    ] * 2,
    "judge": [
        {"prompt": TURNS, "response_1": "a", "response_2": "b", "ground_truth": None, "subset": "x"},
        {"messages": ASKED, "pair_id": "p", "side": 0, "ground_truth": "tie"},
    ],
    "generations": [_generation("base", sample, text) for sample, text in enumerate(("one", "one two"))],
    "scores": [
        {"prompt_id": name, "sample": 0, "scores": {"x": 1.0, "y": place / 2}, "words": 3, "response_tokens": 4, "capped": False,
         "prompt_truncated": False}
        for place, name in enumerate(("p", "q"))
    ],
    "teacher": [
        {"dataset": "anthropic_hh", "split": "train", "scale": "score100", "index": index, "context": f"Why {index}?",
         "responses": ["a", "b"], "preferred": 1, "scores": [20, 75.5], "reasons": ["Score: 20. Short.", "2 reasons."]}
        for index in (0, 1)
    ],
    "answers": [{"question": "Why?", "response": "So.", "checkpoint": "c", "sample": n, "metadata": {"n": 1}} for n in (0, 1)],
    "verdicts": [_judged(0, "A"), _judged(1, "tie")],
    "scored pairs": [{"index": 0, "digest": "d", "preferred": 1, "scores": [[1.0, None], [2.0, 3.0]]}],
}  # fmt: skip
