"""Answers to one rank's share of a window, through the parent's own generation. n answers per prompt."""

from typing import Any

import numpy as np
import torch

from trl_ext.online_dpo.trainer import OnlineTrainer

from .window import Pairs


@torch.no_grad()
def answer_window(
    trainer: OnlineTrainer, model: Any, prompts: list, completions: int
) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Tokens of each prompt and of its n answers with their end token, without padding.

    Two answers per prompt at a time, as in stock online DPO; `generation_batch_size` prompts at once.
    """
    args, prompt_ids, answers = trainer.args, [], []
    size = args.generation_batch_size or args.per_device_train_batch_size
    for start in range(0, len(prompts), size):
        part = prompts[start : start + size]
        rows: list[list[list[int]]] = [[] for _ in part]
        for _ in range(completions // 2):
            generated = trainer._generate_vllm(part) if args.use_vllm else trainer._generate(model, part)
            asked, asked_mask, answered, answered_mask = generated[:4]
            given = unpadded(answered, answered_mask)
            rows = [[*row, given[i], given[i + len(part)]] for i, row in enumerate(rows)]
        prompt_ids += unpadded(asked[: len(part)], asked_mask[: len(part)])
        answers += rows
    return prompt_ids, answers


def unpadded(tokens: torch.Tensor, mask: torch.Tensor) -> list[list[int]]:
    """The (N, T) tokens that the mask keeps, row by row."""
    return [row[kept.bool()].tolist() for row, kept in zip(tokens, mask, strict=True)]


@torch.no_grad()
def log_ratios(
    trainer: OnlineTrainer, prompt_ids: list[list[int]], answers: list[list[list[int]]]
) -> list[list[float]]:
    """log pi - log pi_ref of every answer, summed over its tokens, without dropout: the policy's own reward."""
    was_training = trainer.model.training
    trainer.model.eval()
    size, columns = trainer.args.per_device_train_batch_size, []
    for place in range(0, len(answers[0]), 2):
        pairs = Pairs(prompt_ids, [row[place : place + 2] for row in answers], [], [])
        parts = [_log_ratio(trainer, pairs.part(number, size)) for number in range(-(-len(answers) // size))]
        columns.append(np.concatenate(parts))
    trainer.model.train(was_training)
    return np.concatenate(columns, axis=1).tolist()


def _log_ratio(trainer: OnlineTrainer, part: Pairs) -> np.ndarray:
    """(B, 2)"""
    inputs = part.tensors(trainer.processing_class.pad_token_id, trainer.accelerator.device)
    policy = trainer._forward(trainer.model, *inputs)
    if trainer.ref_model is not None:
        reference = trainer._forward(trainer.ref_model, *inputs)
    else:
        with trainer.model.disable_adapter():
            reference = trainer._forward(trainer.model, *inputs)
    return ((policy - reference) * inputs[3]).sum(1).reshape(2, -1).T.float().cpu().numpy()
