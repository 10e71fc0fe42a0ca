"""D2PO on online DPO. Shapes: N prompts of a window on all ranks, n answers each, B pairs of a micro-batch on one rank."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader

from trl_ext.model_card import Objective, source_name
from trl_ext.online_dpo.prompts import last_user_text
from trl_ext.online_dpo.trainer import GENERATED_REST, ROW, OnlineTrainer, refuse_without_effect, whole_models
from trl_ext.papers import D2PO

from .answers import answer_window, log_ratios
from .config import D2POConfig
from .evaluation import evaluate_answers
from .judge import WindowJudge
from .labelling import Window
from .window import Pairs, WindowSampler


def discriminated_reward(*args: Any, **kwargs: Any) -> list[float]:
    """Stands in the parent's list of reward functions; scores are made for a whole window instead."""
    raise NotImplementedError


class D2POTrainer(OnlineTrainer):
    """Online DPO guided by a discriminator that learns from few gold labels (D2PO, arXiv 2405.01511).

    The difference to [`OnlineTrainer`] is that answers come and are judged a window at a time: before its first step the
    prompts of the whole window are answered, gold labels are bought for some of the pairs, the discriminator is trained
    on them, and what it scores then decides the other pairs. Steps on the window train stored pairs.

    Args:
        model: the base model, or its path.
        args: [`D2POConfig`].
        train_dataset: a `datasets.Dataset` with a column `prompt` of texts or of message lists; further columns are
            handed to gold functions as metadata.
        processing_class: the tokenizer.
        discriminator: one made by the caller, on every rank; None makes it from `args`.
        **kwargs: of the parent, such as `peft_config`, `eval_dataset` or `callbacks`.

    Raises:
        ValueError: settings or data that cannot work (see `D2POConfig` and `OnlineTrainer`).
    """

    state_file = "d2po_state.json"
    _tag_names = ("trl", "online-dpo", "d2po")
    _name = "D2PO"
    _paper: ClassVar = D2PO
    claim = "d2po-labels"

    def __init__(self, model, args: D2POConfig, train_dataset, processing_class, discriminator=None, **kwargs):
        refuse_without_effect("D2POTrainer", args, D2POConfig, kwargs)
        self.served: Pairs | None = None  # the stored pairs of the step that is under way
        self.pairs: Pairs | None = None  # this rank's pairs of the window
        self.position = 0  # micro-batches of the window that were trained on
        self.repeats = args.window_batches * args.window_passes
        super().__init__(
            model,
            args,
            train_dataset,
            processing_class=processing_class,
            reward_funcs=[discriminated_reward],
            **kwargs,
        )
        with whole_models(args):
            self.judge = WindowJudge(args, self.accelerator, discriminator)

    def objectives(self):
        args, found = self.args, []
        if args.gold is not None:
            labels = f"{self.judge.gold.ledger.spent} labels bought until this card, selection {args.selection}"
            found.append(Objective("gold", "1", f"{source_name(args.gold)}, {labels}"))
        if args.mode == "self_reward":
            found.append(Objective("own reward", "pairs without a label", "log-ratio of the policy to its reference"))
        elif args.mode == "d2po" or args.gold is None:
            told = "behind an address" if args.discriminator_url else "the caller's"
            told = source_name(args.discriminator) if args.discriminator else told
            found.append(Objective("discriminator", "pairs without a label", told))
        return found

    def get_train_dataloader(self) -> DataLoader:
        """Batches of one rank's share of a window, each handed out once a step on that window."""
        rows, window = len(self.train_dataset), self.args.window_pairs
        sampler = WindowSampler(rows, window, self.repeats, self.args.seed, lambda: self.data_epoch)
        loader = DataLoader(
            self.train_dataset,
            batch_size=self.args.window_pairs // self.accelerator.num_processes,
            sampler=sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def training_step(self, model, inputs, num_items_in_batch=None):
        if self.position == 0:
            self.pairs = self._collect(model, inputs)
        size, number = self.args.per_device_train_batch_size, self.position % self.args.window_batches
        self.served = self.pairs.part(number, size)
        self.pair_weights = torch.tensor(self.served.weights, device=self.accelerator.device)
        self.position = (self.position + 1) % self.repeats
        prompts = inputs["prompt"][number * size : (number + 1) * size]
        loss = super().training_step(model, {"prompt": prompts}, num_items_in_batch)
        self.served = None
        return loss

    def _collect(self, model, inputs) -> Pairs:
        """Answers this rank's share of a window; judges the shares of all ranks; returns this rank's pairs."""
        model.train()  # as the parent does before it samples
        prompt_ids, answers = answer_window(self, model, inputs["prompt"], self.args.completions)
        columns = [name for name in inputs if name not in ("prompt", ROW)]
        share = {
            "prompts": [last_user_text(prompt) for prompt in inputs["prompt"]],
            "responses": [self.processing_class.batch_decode(row, skip_special_tokens=True) for row in answers],
            "lengths": [[len(ids) for ids in row] for row in answers],
            "metadata": [{name: inputs[name][row] for name in columns} for row in range(len(answers))],
            "own": log_ratios(self, prompt_ids, answers) if self.args.mode == "self_reward" else [],
        }
        shares = gather_object([share])
        whole = {name: [row for part in shares for row in part[name]] for name in share}
        own = np.array(whole.pop("own"))
        decision = self.judge.judge(
            Window(**{**whole, "lengths": np.array(whole["lengths"])}),
            own if own.size else None,
            self.state.global_step,
        )
        rows = slice(self.accelerator.process_index * len(answers), (self.accelerator.process_index + 1) * len(answers))
        places = decision.places[rows]
        return Pairs(
            prompt_ids,
            [[row[first], row[second]] for row, (first, second) in zip(answers, places, strict=True)],
            decision.scores[rows].tolist(),
            decision.weights[rows].tolist(),
        )

    def _generate(self, model, prompts, images=None):
        """The parent's answers; in a step the stored pairs, as the parent would have just sampled them."""
        if self.served is None:
            return super()._generate(model, prompts, images)
        tensors = self.served.tensors(self.processing_class.pad_token_id, self.accelerator.device)
        return (*tensors, *GENERATED_REST)

    def _generate_vllm(self, prompts, images=None):
        return super()._generate_vllm(prompts, images) if self.served is None else self._generate(None, prompts)[:4]

    def _calculate_rewards_from_functions(self, prompts, completions, completion_ids_list, **columns):
        """(2B,) scores of the first and then of the second answers of the stored pairs."""
        return torch.tensor(self.served.scores, device=self.accelerator.device, dtype=torch.float32).T.reshape(-1)

    def log(self, logs, *args, **kwargs):
        if "loss" in logs:
            logs |= {f"d2po/{name}": value for name, value in self.judge.metrics.items() if np.isfinite(value)}
        super().log(logs, *args, **kwargs)

    def evaluation_metrics(self, dataset, name):
        """Means over held-out answers, see [`evaluate_answers`]."""
        return evaluate_answers(self, self.judge, dataset)

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        if not resume_from_checkpoint:
            self.judge.begin_rollouts()
        return super().train(resume_from_checkpoint, *args, **kwargs)

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def _pairs_file(self, folder: Path) -> Path:
        return folder / f"d2po_pairs-rank{self.accelerator.process_index}.json"

    def save_parts(self, folder: Path) -> None:
        self.judge.save(folder)
        if self.position:
            self.pairs.write(self._pairs_file(folder))

    def _settings(self) -> dict[str, Any]:
        names = (
            "mode", "completions", "window_pairs", "window_passes", "labels_per_window", "selection", "gold",
            "gold_arguments", "discriminator_kind", "discriminator_loss", "keep_long", "length_penalty",
            "scale_reward", "token_bonus", "beta", "ref", "seed",
        )  # fmt: skip
        return {name: getattr(self.args, name) for name in names} | {"processes": self.accelerator.num_processes}

    def state_dict(self):
        return {"settings": self._settings(), "position": self.position, "judge": self.judge.state_dict()}

    def load_state_dict(self, state, path: Path):
        for name, value in self._settings().items():
            if (saved := state["settings"].get(name)) != value:
                raise ValueError(f"{path}: the run had {name} = {saved}, this one has {value}")
        self.position = state["position"]
        self.judge.load(path.parent, state["judge"])
        if self.position:
            self.pairs = Pairs.read(self._pairs_file(path.parent))
