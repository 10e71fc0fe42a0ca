"""What the step benchmarks share: tiny models, steps that take turns in one process, and medians of paired ratios.

The order within a round is shuffled and the first two rounds warm up. Ratios are of elapsed and of processor time: on a
machine with other load only the second is steady.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

WORDS = ["river", "bread", "garden", "window", "slowly", "bright", "answer", "because", "morning", "letter", "between"]
WARM_UP = 2
SMALL = {
    "vocab_size": 400, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 1024, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip


def random_checkpoint(folder: Path, name: str, seed: int, dtype: str = "float32", **settings) -> Path:
    """Random weights of the class `name` with a byte-pair tokenizer that has a chat template; a Llama of 12 million
    parameters unless the settings of its configuration say otherwise. Drawn where there is a GPU on that."""
    import torch
    import transformers

    model_class = getattr(transformers, name)
    write_tokenizer(folder)
    torch.manual_seed(seed)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = model_class(model_class.config_class(**SMALL | settings))
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    from tests.tiny import build_tokenizer

    folder.mkdir(parents=True)
    build_tokenizer(folder)


def add_step_flags(parser: argparse.ArgumentParser, rounds: int, further: str | None = None) -> None:
    """The flags that every step benchmark has. `rounds`: by default; `further`: what else is to be said of them."""
    parser.add_argument("--rounds", type=int, default=rounds, help=further)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--cpu", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path)


def causal_model(folder: Path | str, dtype: str, device: str) -> Any:
    """The model of a checkpoint folder, or, where that holds a configuration and no weights, random weights of its shape."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    precision = getattr(torch, dtype)
    if any(Path(folder).glob("*.safetensors")):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=precision).to(device)
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=precision)


def random_adapter(model: Path | str, folder: Path) -> str:
    """A LoRA adapter of rank 8 on all linear layers whose weights are random, so that it has an opinion. The model's are not
    read."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    config = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM", base_model_name_or_path=str(model))
    with torch.device("meta"):
        shapes = get_peft_model(AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model)), config)
    draw = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(one.shape, generator=draw) * (0.01 if "lora_B" in name else one.shape[1] ** -0.5)
        for name, one in get_peft_model_state_dict(shapes).items()
    }
    folder.mkdir(parents=True)
    save_file(weights, folder / "adapter_model.safetensors")
    shapes.peft_config["default"].save_pretrained(folder)
    return str(folder)


def prompts(count: int, words: int = 24) -> list:
    generator = random.Random(0)
    texts = [" ".join(generator.choice(WORDS) for _ in range(words)) for _ in range(count)]
    return [[{"role": "user", "content": text}] for text in texts]


def ready(trainer: Any) -> Any:
    """The trainer with an optimiser, prepared for steps that are taken one by one."""
    trainer.create_optimizer()
    trainer.model_wrapped = trainer.accelerator.prepare_model(trainer.model)  # with bf16, its forward is under autocast
    trainer.current_gradient_accumulation_steps = 1  # `train()` sets it
    return trainer


def step(trainer: Any, batch: Any) -> None:
    """One optimiser step: `training_step`, gradient clipping, `optimizer.step()` and `zero_grad`."""
    import torch

    trainer.training_step(trainer.model, batch, None)
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def take_turns(variants: Mapping[str, Callable[[int], None]], rounds: int, reference: str = "stock") -> dict:
    """{variant: {elapsed, processor: median seconds, median ratio to `reference`, its quartiles}}.

    Args:
        variants: by name, a function of the round that does one round's work.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for turn in range(rounds + WARM_UP):
        order = list(variants)
        random.Random(turn).shuffle(order)
        for name in order:
            begun, used = time.perf_counter(), time.process_time()
            variants[name](turn)
            if turn >= WARM_UP:
                seconds[name].append((time.perf_counter() - begun, time.process_time() - used))
    return {
        name: {
            kind: _ratio([pair[place] for pair in own], [pair[place] for pair in seconds[reference]])
            for place, kind in enumerate(("elapsed", "processor"))
        }
        for name, own in seconds.items()
    }


def _ratio(own: list[float], reference: list[float]) -> dict:
    ratios = [a / b for a, b in zip(own, reference, strict=True)]
    return {
        "median_seconds": statistics.median(own),
        "median_ratio": statistics.median(ratios),
        "ratio_quartiles": statistics.quantiles(ratios, n=4),
    }


def show(result: Mapping[str, Any], out: Path | None) -> None:
    """The result as JSON on the terminal and, where a file is asked for, in it."""
    text = json.dumps(result, indent=2)
    print(text)
    if out:
        out.write_text(text + "\n", encoding="utf-8")


def report(result: dict, out: Path | None) -> None:
    """Prints the result with machine, versions and command, and writes it to `out` if given."""
    import torch
    import trl

    machine = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s)"
    if torch.cuda.is_available():
        machine = torch.cuda.get_device_name()
    head = {
        "machine": machine,
        "versions": {"trl": trl.__version__, "torch": torch.__version__},
        "command": " ".join(["python", *sys.argv]),
    }
    show(head | result, out)
