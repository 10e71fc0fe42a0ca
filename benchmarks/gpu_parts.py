"""The parts of the GPU suite, each a process of its own: python -m benchmarks.gpu_parts NAME --out FILE --seconds 60 [--rehearsal]

`gpu_suite.py` starts them; what a part does is here and in `gpu_training.py`, how it is measured in the step benchmarks.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import d2po_step, grpo_trl_step, modpo_trl_step, moodpo_step
from benchmarks.alone import Deadline, take_alone
from benchmarks.gpu_sizes import FULL, REHEARSAL, Scene
from benchmarks.gpu_training import train
from benchmarks.turns import prompts
from datasets_builders.io import write_json
from launch.common.operations import Rows, forward_operations, step_operations, utilisation

REWARD_MODELS = 2  # of MOODPO
SCRATCH = "scratch_"  # folders beside the results, which a part that is killed leaves behind
Builders = dict[str, Callable[[], Callable[[int], None]]]


def device_name() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()


def taken(
    scene: Scene, builders: Builders, work: Callable[[str], tuple[float, float]], steps: int = 1
) -> Iterator[dict]:
    """A row for each variant: times, memory, tokens a second and MFU.

    Args:
        work: by variant, the tokens of the data that a step trains on and its operations; none where they do not apply.
        steps: of a round.
    """
    import torch

    for place, (name, build) in enumerate(builders.items()):
        try:
            found = take_alone(build, scene.size.rounds, scene.deadline.share(len(builders) - place))
        except torch.cuda.OutOfMemoryError:
            yield {"variant": name, "remark": "out of memory"}
            continue
        for key in ("step_seconds", "step_seconds_quartiles"):
            value = found[key]
            found[key] = [one / steps for one in value] if isinstance(value, list) else value / steps
        tokens, operations = work(name)
        if tokens:
            found["tokens_per_second"] = tokens / found["step_seconds"]
            found["operations"] = operations
            found["mfu"] = utilisation(operations, found["step_seconds"], device_name())
        yield {"variant": name, **found}


def lengths(model: Path, conversations: list, words: int) -> tuple[float, float]:
    """Tokens of a prompt in the chat template, in the mean, and of an answer of `words` words."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    texts = [tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in conversations]
    tokens = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    answer = tokenizer(prompts(1, max(words, 1))[0][0]["content"], add_special_tokens=False)["input_ids"]
    return sum(tokens) / len(tokens), len(answer) + 1  # and its end token


def common(scene: Scene, model: Path) -> dict:
    size = scene.size
    return {
        "model": model, "rounds": size.rounds, "dtype": size.dtype, "cpu": size.cpu, "checkpointing": scene.model == "7B",
    }  # fmt: skip


def modpo(scene: Scene) -> Iterator[dict]:
    """DPO with a live reference against MODPO, live and precomputed, with shared prefixes and without; a LoRA."""
    size, model, count = scene.size, scene.configured(), scene.size.pairs[scene.model]
    variants = (
        ["stock", *modpo_trl_step.SHARED] if scene.model != "7B" else ["stock", "live_shared", "precomputed_shared"]
    )
    options = Namespace(
        **common(scene, model), batch=count, max_length=4096, prompt_words=size.prompt_words,
        answer_words=size.answer_words, variants=variants,
    )  # fmt: skip
    prompt, answer = lengths(model, prompts(8, size.prompt_words), size.answer_words)

    def work(name: str) -> tuple[float, float]:
        rows = Rows.of(count, 2, prompt, answer, shared=name.endswith("_shared"))
        live = {"stock": 1, "live": 2}.get(name.removesuffix("_shared"), 0)  # reference, margin adapter
        return count * 2 * (prompt + answer), step_operations(scene.shape, rows, lora=True, forwards=live)

    yield from taken(scene, modpo_trl_step.builders(options, scene.folder), work)


def grpo(scene: Scene) -> Iterator[dict]:
    """The loss part of GRPO, answers given, stock against shared prefixes; a LoRA."""
    size, model, count = scene.size, scene.configured(), scene.size.groups[scene.model]
    options = Namespace(
        **common(scene, model), prompts=count, completions=size.completions, words=size.prompt_words,
        answer_tokens=size.answer_tokens,
    )  # fmt: skip
    prompt, _ = lengths(model, prompts(8, size.prompt_words), 1)

    def work(name: str) -> tuple[float, float]:
        rows = Rows.of(count, size.completions, prompt, size.answer_tokens, shared=name == "shared")
        return count * size.completions * (prompt + size.answer_tokens), step_operations(scene.shape, rows, True, 1)

    yield from taken(scene, grpo_trl_step.builders(options, scene.folder), work)


def online_work(scene: Scene, model: Path, reward_models: int, ours: str) -> Callable[[str], tuple[float, float]]:
    """Of a step of online DPO: sampling counts as one forward pass over all tokens, a reward model as one without the head."""
    size = scene.size
    prompt, _ = lengths(model, prompts(8), 1)

    def work(name: str) -> tuple[float, float]:
        if name not in ("stock", ours):
            return 0, 0
        plain = Rows.of(size.online, 2, prompt, size.new_tokens, shared=False)
        trained = Rows.of(size.online, 2, prompt, size.new_tokens, shared=name == ours)
        scored = Rows(plain.count, plain.tokens, read=0)
        operations = step_operations(scene.shape, trained, lora=False, forwards=1) + forward_operations(
            scene.shape, plain
        )
        return plain.count * plain.tokens, operations + reward_models * forward_operations(scene.shape, scored)

    return work


def moodpo(scene: Scene) -> Iterator[dict]:
    """Online DPO against MOODPO, sampling and two reward models included; all weights."""
    size, model = scene.size, scene.policy()
    options = Namespace(**common(scene, model), batch=size.online, new_tokens=size.new_tokens)
    builders = moodpo_step.builders(options, model, scene.reward_models(REWARD_MODELS), scene.folder / "run")
    chosen = {name: builders[name] for name in ("stock", "moodpo")}
    yield from taken(scene, chosen, online_work(scene, model, REWARD_MODELS, "moodpo"))


def d2po(scene: Scene) -> Iterator[dict]:
    """Online DPO against D2PO with the same reward model, and one update of the discriminator; all weights."""
    size, model = scene.size, scene.policy()
    options = Namespace(
        **common(scene, model), batch=size.online, new_tokens=size.new_tokens, window=size.window, labels=4
    )
    builders = d2po_step.builders(options, model, scene.reward_models(1)[0], scene.folder / "run")
    work = online_work(scene, model, 1, "d2po")
    update = {"update": builders.pop("update")}
    yield from taken(scene, builders, work, steps=size.window)
    yield from taken(scene, update, work)


def exactness(scene: Scene) -> Iterator[dict]:
    """How far log-probs in bf16 are from those of the same weights in fp32, plain and with shared prefixes."""
    import torch

    from trl_ext.objectives.logps import selective_logps
    from trl_ext.shared_prefix.choice import SharedPrefixes
    from trl_ext.shared_prefix.model import SharedPrefixModel

    model, prompt, answer = scene.loaded().eval(), 24 * scene.size.prompt_words // 8, 64
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 300, (4, prompt + answer), generator=draw)
    ids[2:, :prompt] = ids[:2, :prompt]  # rows 0 and 2, 1 and 3 have one prompt each
    ids, stream = ids.to(scene.size.device), torch.tensor([0, 1, 0, 1], device=scene.size.device)

    @torch.no_grad()
    def logps(shared: bool) -> torch.Tensor:
        prefixes = SharedPrefixes(always=True, say=lambda text: None)
        call = SharedPrefixModel(model, prefixes, stream) if shared else model
        logits = call(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[:, prompt - 1 : -1]
        return selective_logps(logits.float(), ids[:, prompt:]).cpu()

    model.bfloat16()
    found = {f"bf16, {path}": logps(path == "shared") for path in ("plain", "shared")}
    model.float()
    found["fp32, shared"], exact = logps(True), logps(False)
    for name, values in found.items():
        differences = (values - exact).abs()
        rms, largest = differences.square().mean().sqrt().item(), differences.max().item()
        remark = f"{rms:.1e} nats from plain fp32 (root mean square of {values.numel()} tokens), at most {largest:.1e}"
        yield {"variant": name, "rms_nats": rms, "largest_nats": largest, "remark": remark}


@dataclass(frozen=True)
class Part:
    """What is measured on which model, in how many seconds at most, imports and loading included."""

    measure: Callable[[Scene], Iterator[dict]]
    model: str
    seconds: float


PARTS = {
    "exactness 0.5B": Part(exactness, "0.5B", 25),
    "modpo 0.5B": Part(modpo, "0.5B", 50),
    "grpo 0.5B": Part(grpo, "0.5B", 30),
    "moodpo 0.5B": Part(moodpo, "0.5B", 50),
    "d2po 0.5B": Part(d2po, "0.5B", 50),
    **{f"train {name}": Part(train(name), "0.5B", 35) for name in ("modpo", "judge", "moodpo", "d2po")},
    "modpo 1.5B": Part(modpo, "1.5B", 55),
    "grpo 1.5B": Part(grpo, "1.5B", 35),
    "modpo 7B": Part(modpo, "7B", 90),
}


def main(argv: list[str]) -> int:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=PARTS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--smollm2", type=Path)
    parser.add_argument("--rehearsal", action="store_true")
    options = parser.parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    part = PARTS[options.name]
    rows: list[dict] = []
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=options.out.parent) as folder:
        os.environ.setdefault("HF_DATASETS_CACHE", f"{folder}/cache")  # the made rows are of use to nobody else
        deadline = Deadline(begun + 0.9 * options.seconds)
        size = REHEARSAL if options.rehearsal else FULL
        for row in part.measure(Scene(part.model, size, Path(folder), deadline, options.smollm2)):
            rows.append(row)
            write_json(options.out, {"device": device_name(), "versions": versions(), "rows": rows})
    return 0


def versions() -> dict[str, str]:
    import torch
    import transformers
    import trl

    return {one.__name__: one.__version__ for one in (torch, transformers, trl)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
