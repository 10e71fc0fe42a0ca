"""What the witness of the harness saw, compared with checkpoints that transformers and PEFT load: not the trainer's own word."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

PARTS = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}  # vLLM joins them


@dataclass
class Call:
    """One call of the engine: its weights at that moment; for each answer prompt, tokens and log-probs of the tokens."""

    weights: dict[str, torch.Tensor]
    answers: list[dict]


def calls(folder: Path) -> list[Call]:
    """In order."""
    return [Call(**torch.load(file)) for file in sorted(folder.glob("*.pt"))]


def load(base: Path, checkpoint: Path | None) -> torch.nn.Module:
    """A policy in fp32, an adapter merged; None is the base itself."""
    if checkpoint is None:
        return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if not (checkpoint / "adapter_config.json").is_file():
        return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(model, checkpoint).merge_and_unload()


def distance(call: Call, model: torch.nn.Module) -> float:
    """Largest difference of a weight from the model's, as a share of the largest weight of its tensor."""
    policy, worst, compared = model.state_dict(), 0.0, 0
    for name, weight in call.weights.items():
        joined = next((part for part in PARTS if part in name), None)
        names = [name.replace(joined, part) for part in PARTS[joined]] if joined else [name]
        if names[0] not in policy:
            continue
        expected = torch.cat([policy[one] for one in names])
        found = weight.float()[: len(expected)]  # vLLM rounds the vocabulary up
        worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
        compared += len(names)
    assert compared >= sum("layers" in name for name in policy), "weights of the engine that were not compared"
    return worst


def steps(folder: Path, base: Path, run: Path, tolerance: float) -> list[int]:
    """For each call, the step whose checkpoint the engine had; each is that of exactly one.

    `run` has a checkpoint for every step.
    """
    policies = {0: load(base, None)}
    for checkpoint in run.glob("checkpoint-*"):
        policies[int(checkpoint.name.rpartition("-")[2])] = load(base, checkpoint)
    found = []
    for number, call in enumerate(calls(folder)):
        near = [step for step, policy in sorted(policies.items()) if distance(call, policy) < tolerance]
        assert len(near) == 1, (number, near, {step: distance(call, policy) for step, policy in policies.items()})
        found += near
    return found


@torch.no_grad()
def logprob_differences(call: Call, model: torch.nn.Module) -> torch.Tensor:
    """Absolute differences between the engine's log-prob of each sampled token and that of the model in fp32."""
    differences = []
    for answer in call.answers:
        ids = torch.tensor([answer["prompt"] + answer["tokens"]])
        logprobs = model(ids).logits[0, :-1].log_softmax(-1)[len(answer["prompt"]) - 1 :]
        own = logprobs.gather(1, torch.tensor(answer["tokens"])[:, None])[:, 0]
        differences.append((own - torch.tensor(answer["logprobs"])).abs())
    return torch.cat(differences)


def losses(output: str) -> list[float]:
    """Of the lines that a trainer printed."""
    return [float(text) for text in re.findall(r"'loss': '?(-?[\d.]+(?:e-?\d+)?)", output)]
