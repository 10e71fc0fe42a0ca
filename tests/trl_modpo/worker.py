"""Runs TRL trainers for the tests in a process of its own, where no ms-swift trainer deletes their constructors.

Started once as `python -m tests.trl_modpo.worker`; each line of standard input is a job, {"job": name, ...arguments}, and
each is answered by one line that begins with RESULT.
"""

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

from tests.frozen import freeze_imports

LOSS_AND_METRICS = (
    "loss",
    "rewards/",
    "logps/",
    "margin_rewards/",
    "grad_norm",
    "eval_loss",
    "eval_rewards",
    "eval_margin_rewards",
)


def build(
    folder,
    model,
    data,
    method="modpo",
    lora=None,
    nudged=False,
    reverse=False,
    ref_model=None,
    eval_data=None,
    policy_adapter=None,
    **config,
):
    """A trainer that keeps the exact loss of every batch in `losses`."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer

    from trl_ext import MODPOConfig, MODPOTrainer

    trainer_class, config_class = (MODPOTrainer, MODPOConfig) if method == "modpo" else (DPOTrainer, DPOConfig)

    class Recorded(trainer_class):
        def compute_loss(self, *args, **kwargs):
            result = super().compute_loss(*args, **kwargs)
            loss = result[0] if isinstance(result, tuple) else result
            self.losses.append(loss.item())
            return result

        def _logps(self, *args):
            self.passes.append(1)
            return super()._logps(*args)

    settings = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 2,
        "max_steps": 4,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "max_length": 96,
        "seed": 7,
        "beta": 0.1,
        "train_sampling_strategy": "sequential",
        "disable_tqdm": True,
    } | config
    torch.manual_seed(5)
    policy = str(model)
    if nudged or policy_adapter is not None:
        policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    if nudged:  # other weights than those of the folder that it names
        policy.model.norm.weight.data[0] += 0.5
    if policy_adapter is not None:
        policy = PeftModel.from_pretrained(policy, policy_adapter, is_trainable=True)
    if ref_model is not None:
        ref_model = AutoModelForCausalLM.from_pretrained(ref_model, dtype=torch.float32)
    peft_config = None
    if lora is not None:
        peft_config = LoraConfig(
            **{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | lora
        )

    def rows(path):
        if path is None:
            return None
        dataset = Dataset.from_json(str(path), cache_dir=str(Path(path).parent / "cache"))
        return dataset.select(range(len(dataset) - 1, -1, -1)) if reverse else dataset

    losses, Recorded.passes = [], []
    Recorded.losses = losses
    trainer = Recorded(
        policy,
        ref_model=ref_model,
        args=config_class(**settings),
        train_dataset=rows(data),
        eval_dataset=rows(eval_data),
        peft_config=peft_config,
    )
    losses.clear()
    return trainer


def train(resume=None, watch=False, **options) -> dict:
    """Trains and tells the exact losses, the log, the trainable parameters and, with `watch`, which weights moved."""
    import torch

    trainer = build(**options)
    passes_before = len(trainer.passes)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()} if watch else {}
    trainer.train(resume_from_checkpoint=resume)
    logs = [{k: v for k, v in row.items() if k.startswith(LOSS_AND_METRICS)} for row in trainer.state.log_history]
    moved = [name for name, p in trainer.model.named_parameters() if watch and not torch.equal(p, before[name])]
    return {
        "losses": trainer.losses,
        "passes_before": passes_before,
        "passes_in_training": len(trainer.passes) - passes_before,
        "steps": [row for row in logs if "loss" in row],
        "evaluations": [row for row in logs if "eval_loss" in row],
        "trainable": [name for name, p in trainer.model.named_parameters() if p.requires_grad],
        "names": [name for name, _ in trainer.model.named_parameters()],
        "moved": moved,
        "tags": list(trainer.model.model_tags),
    }


def loss_cases(folder, model, data, cases) -> list[dict]:
    """The worked cases through the trainer's own loss: the policy's, the reference's and the margins' numbers are given.

    Log-probs reach the loss as they are: a stand-in model whose per-token log-probs sum to them.
    """
    import torch

    found = []
    for case in cases:
        margins = [
            {"function": "brevity", "name": f"m{k}", "weight": abs(w), "role": "reward" if w >= 0 else "cost"}
            for k, w in enumerate(case["w"][1:])
        ]
        trainer = build(
            folder,
            model,
            data,
            w=case["w"][0],
            beta=case["beta"],
            loss_type=[case["loss_type"]],
            margins=margins,
            disable_dropout=False,
            shared_prefix="off",  # the stand-in has no attention
        )
        pairs = len(case["policy_chosen_logps"])
        logps = torch.tensor(case["policy_chosen_logps"] + case["policy_rejected_logps"], requires_grad=True)

        def stand_in(*args, logps=logps, pairs=pairs, fused_lm_head=False, **kwargs):
            """Two tokens, of which the second is scored; in a vocabulary of two, a logit can be any log-prob below 0."""
            if fused_lm_head:
                zeros = torch.zeros(2 * pairs, 1)
                return SimpleNamespace(log_probs=logps[:, None], entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())
            return SimpleNamespace(
                logits=torch.stack([logps, torch.log(-torch.expm1(logps))], -1)[:, None].expand(-1, 2, -1)
            )

        ids = torch.zeros(2 * pairs, 2, dtype=torch.long)
        values = torch.tensor([c + r for c, r in zip(case["margin_chosen"], case["margin_rejected"], strict=True)])
        batch = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "completion_mask": torch.tensor([[0, 1]] * (2 * pairs)),
            "ref_chosen_logps": torch.tensor(case["ref_chosen_logps"]),
            "ref_rejected_logps": torch.tensor(case["ref_rejected_logps"]),
            "margin_values": values,
        }
        trainer.model.train()
        loss = trainer.compute_loss(stand_in, batch)
        loss.backward()
        metrics = {name: value[-1] for name, value in trainer._metrics["train"].items()}
        found.append({"loss": loss.item(), "gradient": logps.grad.tolist(), "metrics": metrics})
    return found


JOBS = {"train": train, "loss_cases": loss_cases}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        job = json.loads(line)
        freeze_imports()
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                result = {"result": JOBS[job.pop("job")](**job)}
        except Exception as error:  # whatever goes wrong is the test's to judge
            import traceback

            result = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        print("RESULT " + json.dumps({**result, "printed": printed.getvalue()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
