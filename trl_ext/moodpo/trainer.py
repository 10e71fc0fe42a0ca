"""MOODPO on online DPO. Shapes: B prompts on one rank, K objectives, V weight vectors, N prompts of an evaluation."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from trl_ext.model_card import Objective, source_name
from trl_ext.online_dpo.trainer import ROW, OnlineTrainer, refuse_without_effect, whole_models
from trl_ext.papers import MOODPO

from .config import MOODPOConfig
from .evaluation import score_vectors, vector_metrics
from .instruction import annotate, has_system_role
from .rewards import Normaliser, RewardBundle, read_statistics, scalarise

TIE_WEIGHTS = {"skip": 0.0, "half": 0.5}


def scalarised_reward(*args: Any, **kwargs: Any) -> list[float]:
    """Stands in the parent's list of reward functions; the trainer scores all objectives in one call instead."""
    raise NotImplementedError


class MOODPOOnlineDPOTrainer(OnlineTrainer):
    """Multi-objective online DPO (MO-ODPO, arXiv 2503.00295).

    The difference to [`OnlineTrainer`] is what decides a pair: every prompt draws its own weights w, a function of
    (seed, epoch, row) alone; policy and reference answer the prompt with w written into it; the reward models score the
    answers to the original prompt; and the answer with the higher sum_k w_k r_k is chosen, r_k being normalised.

    Args:
        model: the base model, or its path.
        args: [`MOODPOConfig`].
        train_dataset: a `datasets.Dataset` with a column `prompt` of texts or of message lists.
        processing_class: the tokenizer.
        peft_config: LoRA settings of a first iteration; without it all weights are trained.
        **kwargs: of the parent, such as `eval_dataset`, `ref_model` or `callbacks`.

    Raises:
        ValueError: settings or data that cannot work (see `MOODPOConfig` and `OnlineTrainer`).
    """

    state_file = "moodpo_state.json"
    _tag_names = ("trl", "online-dpo", "moodpo")
    _name = "MOODPO"
    _paper: ClassVar = MOODPO
    claim = "moodpo-steering"

    def __init__(self, model, args: MOODPOConfig, train_dataset, processing_class, **kwargs):
        refuse_without_effect("MOODPOOnlineDPOTrainer", args, MOODPOConfig, kwargs)
        self.sampler = args.sampler()
        self.system_role = has_system_role(processing_class)
        stored = read_statistics(args.reward_stats_path) if args.normalisation == "stored" else None
        with whole_models(args):
            self.rewards = RewardBundle(
                args.specs,
                device=args.device,
                dtype=torch.bfloat16 if args.bf16 and args.device.type != "cpu" else torch.float32,
                batch_size=args.reward_batch_size,
            )
        self.names = list(self.rewards.names)
        self.normaliser = Normaliser(self.names, args.normalisation, stored)
        self.hypervolume_references: dict[str, list[float]] = {}  # by the prefix of an evaluation
        super().__init__(
            model, args, train_dataset, processing_class=processing_class, reward_funcs=[scalarised_reward], **kwargs
        )
        measures = [f"objective/{kind}/{name}" for kind in ("scores", "margins") for name in self.names]
        measures += [f"weights/{name}/mean" for name in self.names]
        self.stats |= {key: [] for key in [*measures, "objective/ties", "objective/not_finite"]}

    def objectives(self):
        drawn = "drawn for each prompt" if self.args.listed_weights is None else "one of a list for each prompt"
        weights = [drawn] * len(self.names) if self.args.fixed_weights is None else self.args.fixed_weights
        return [
            Objective(
                spec.name,
                weight if isinstance(weight, str) else f"{weight:g}",
                f"{spec.kind} {source_name(spec.source)}",
            )
            for spec, weight in zip(self.args.specs, weights, strict=True)
        ]

    def annotate(self, prompts: list, weights: list[tuple[float, ...]]) -> list:
        """The prompts with their weights written into them."""
        return [
            annotate(prompt, self.names, vector, system_role=self.system_role)
            for prompt, vector in zip(prompts, weights, strict=True)
        ]

    def training_step(self, model, inputs, num_items_in_batch=None):
        weights = [self.sampler.draw(self.data_epoch, row) for row in inputs[ROW]]
        # Only `prompt` reaches the policy; the other columns come back in `_calculate_rewards_from_functions`.
        inputs = {
            **inputs,
            "original_prompt": inputs["prompt"],
            "weights": weights,
            "prompt": self.annotate(inputs["prompt"], weights),
        }
        return super().training_step(model, inputs, num_items_in_batch)

    def _calculate_rewards_from_functions(
        self, prompts, completions, completion_ids_list, original_prompt, weights, **columns
    ):
        """(2B,) scalar scores of the first and then the second answers; sets the pairs' loss weights."""
        lengths, ended = self.answer_lengths(completion_ids_list)
        raw = self.rewards.score(original_prompt, completions, response_tokens=lengths)
        batch = len(raw) // 2
        # One gather a step, so that all ranks see the same statistics: (B, 2K scores, K weights, 2 ends).
        rows = np.concatenate([*np.split(raw, 2), np.array(weights[:batch])], axis=1)
        ends = torch.stack(ended.chunk(2), dim=1)
        local = torch.cat([torch.from_numpy(rows).to(ends.device), ends], dim=1)
        table = self.accelerator.gather(local).cpu().numpy()
        scores = self._decide(table)
        own = slice(self.accelerator.process_index * batch, (self.accelerator.process_index + 1) * batch)
        self.pair_weights = self.pair_weights[own].to(ends.device)
        return torch.from_numpy(scores[:, own].reshape(-1)).to(ends.device, torch.float32)

    def _decide(self, table: np.ndarray) -> np.ndarray:
        """(2, B) scalar scores of all ranks' pairs out of the gathered table; sets `pair_weights` (B,) and logs."""
        count = len(self.names)
        raw, weights, ends = np.split(table[:, : 2 * count], 2, axis=1), table[:, 2 * count : -2], table[:, -2:].T
        self.normaliser.update(np.concatenate(raw))
        scores = np.stack([scalarise(self.normaliser.apply(side), weights) for side in raw])
        finite = np.isfinite(scores).all(axis=0)
        # A pair without scores is not trained on, but its scores go into the parent's means: they get the mean itself.
        scores[:, ~finite] = scores[:, finite].mean() if finite.any() else 0.0
        scores = scores.astype(np.float32)  # the precision in which the parent compares
        penalised = scores - (1 - ends.astype(np.float32)) * np.float32(self.args.missing_eos_penalty or 0.0)
        tied = finite & (penalised[0] == penalised[1])
        loss_weights = np.where(tied, TIE_WEIGHTS[self.args.ties], 1.0) * finite
        self.pair_weights = torch.from_numpy(loss_weights).float()

        decided = finite & ~tied
        sign = np.where(penalised[0] >= penalised[1], 1.0, -1.0)[:, None]
        margins = (sign * (raw[0] - raw[1]))[decided]
        for k, name in enumerate(self.names):
            values = np.concatenate([side[:, k] for side in raw])
            values = values[np.isfinite(values)]
            self.stats[f"objective/scores/{name}"].append(float(values.mean()) if len(values) else float("nan"))
            self.stats[f"objective/margins/{name}"].append(float(margins[:, k].mean()) if len(margins) else 0.0)
            self.stats[f"weights/{name}/mean"].append(float(weights[:, k].mean()))
        self.stats["objective/ties"].append(float(tied.mean()))
        self.stats["objective/not_finite"].append(float((~finite).mean()))
        return scores

    def evaluation_metrics(self, dataset, name):
        """Generates for every vector of `args.evaluation_vectors`: how the scores follow the weights."""
        vectors = self.args.evaluation_vectors
        raw = score_vectors(self, self.rewards, self.annotate, list(dataset["prompt"]), vectors)
        return vector_metrics(raw, np.array(vectors), self.names, self.hypervolume_references, name)

    def _settings(self) -> dict[str, Any]:
        names = ("fixed_weights", "listed_weights", "normalisation", "ties", "beta", "ref", "model_path", "seed")
        drawn = ("weights_alpha", "weights_vertex", "weights_centre", "weights_grid")
        return {"objectives": self.names} | {name: getattr(self.args, name) for name in (*names, *drawn)}

    def state_dict(self):
        return {
            "settings": self._settings(),
            "normaliser": self.normaliser.state_dict(),
            "not_finite": dict(self.rewards.not_finite),
            "hypervolume_references": self.hypervolume_references,
        }

    def load_state_dict(self, state, path: Path):
        for name, value in self._settings().items():
            if (saved := state["settings"].get(name)) != value:
                raise ValueError(f"{path}: the run had {name} = {saved}, this one has {value}")
        self.normaliser.load_state_dict(state["normaliser"])
        self.rewards.not_finite.update(state["not_finite"])
        if "hypervolume_references" not in state:
            raise ValueError(f"{path}: no hypervolume_references, so an older version wrote it: begin the run afresh")
        self.hypervolume_references = state["hypervolume_references"]
