"""How good the answers to held-out prompts are by gold, and how far the discriminator agrees."""

import numpy as np

from trl_ext.objectives.d2po import agreement
from trl_ext.online_dpo.evaluation import sample_all
from trl_ext.online_dpo.prompts import completion_text, last_user_text
from trl_ext.online_dpo.trainer import ROW, OnlineTrainer

from .judge import WindowJudge


def evaluate_answers(trainer: OnlineTrainer, judge: WindowJudge, dataset) -> dict[str, float]:
    """Means over all prompts and two answers each, the same on every rank.

    `gold` (left out for gold that costs money), `gold_labels` (labels spent so far), `score` of the discriminator,
    `agreement` of the two on each prompt's pair, and `words`.
    """
    columns = [name for name in dataset.column_names if name not in ("prompt", ROW)]
    rows = sample_all(trainer, list(dataset["prompt"]), trainer.args.seed + 1, _texts)
    prompts = [last_user_text(prompt) for prompt in dataset["prompt"]] * 2
    texts = [rows[place][side] for side in (0, 1) for place in range(len(rows))]
    metadata = [{name: row[name] for name in columns} for row in dataset] * 2
    metrics = {"words": float(np.mean([len(text.split()) for text in texts]))}
    gold = judge.peek(prompts, texts, metadata)
    if judge.gold is not None or gold is not None:
        metrics["gold_labels"] = float(judge.gold.spent if judge.gold is not None else 0)
    if gold is not None:
        metrics["gold"] = float(gold.mean())
    if judge.discriminator is not None:
        scores = np.array(judge.discriminator.score(prompts, texts))
        metrics["score"] = float(scores.mean())
        if gold is not None:
            share = agreement(scores.reshape(2, -1).T, gold.reshape(2, -1).T)
            metrics |= {"agreement": share} if np.isfinite(share) else {}
    return metrics


def _texts(places: list[int], completions: list, ids: list[list[int]]) -> list[str]:
    return [completion_text(completion) for completion in completions]
