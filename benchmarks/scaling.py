"""Memory per GPU and step time of large runs, derived from counted parts: python benchmarks/scaling.py --json docs/results/scaling.json

Counted on the meta device with the real modelling code, without weights: parameters, floating-point operations of a
forward and a backward pass, and the bytes that autograd keeps, each for one and two layers and then carried on to all
layers (both are linear in the layers; `--check` compares with a whole model). Assumed, and changed by flags: the GPU's
memory, the share of its peak that training reaches, its memory and network bandwidth.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from launch.common.operations import METHODS, SHAPES, Machine, Method, bytes_of_a_token, cache_bytes

GIB = 2**30


@dataclass(frozen=True)
class Parts:
    """What one model costs, sequences of T tokens, one sequence.

    Attributes:
        parameters: of the whole model.
        forward, backward: floating-point operations.
        kept: bytes that autograd keeps of all layers and the head.
        kept_head: of these, what belongs to no layer (logits, embedding).
        boundary: bytes of one layer's input, all that gradient checkpointing keeps of a layer.
        cache: bytes of keys and values of a token.
        layers: number of layers.
    """

    parameters: int
    forward: float
    backward: float
    kept: float
    kept_head: float
    boundary: int
    cache: int
    layers: int

    @property
    def checkpointed(self) -> float:
        """Bytes of activations with gradient checkpointing: every layer's input, one layer in full, and the head."""
        return self.layers * self.boundary + (self.kept - self.kept_head) / self.layers + self.kept_head


def count(shape: dict, tokens: int, layers: int) -> tuple[int, float, float, float]:
    """(parameters, forward, backward operations, bytes kept) of a model with `layers` layers, on the meta device."""
    config = LlamaConfig(**{**shape, "num_hidden_layers": layers}, attn_implementation="sdpa")
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16).train()
        ids = torch.zeros((1, tokens), dtype=torch.long)
        mask = torch.zeros((1, 1, tokens, tokens), dtype=torch.bfloat16)  # given whole: making one reads values
    own = {parameter.untyped_storage()._cdata for parameter in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.Tensor] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        # Tables of all tokens against all tokens are what flash kernels recompute instead of keeping.
        if value.untyped_storage()._cdata not in own and value.shape[-2:] != (tokens, tokens):
            kept[value.untyped_storage()._cdata] = value  # holding it keeps its number from being given again
        return value

    with FlopCounterMode(display=False) as forward, saved_tensors_hooks(keep, lambda value: value):
        loss = model(input_ids=ids, attention_mask=mask, labels=ids, use_cache=False).loss
    size = float(sum(value.untyped_storage().nbytes() for value in kept.values()))
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    return (
        sum(parameter.numel() for parameter in model.parameters()),
        forward.get_total_flops(),
        backward.get_total_flops(),
        size,
    )


def parts(shape: dict, tokens: int) -> Parts:
    """The parts of a whole model, from one and two layers."""
    one, two, layers = count(shape, tokens, 1), count(shape, tokens, 2), shape["num_hidden_layers"]
    whole = [a + (b - a) * (layers - 1) for a, b in zip(one, two, strict=True)]
    return Parts(
        parameters=int(whole[0]),
        forward=whole[1],
        backward=whole[2],
        kept=whole[3],
        kept_head=one[3] - (two[3] - one[3]),
        boundary=2 * tokens * shape["hidden_size"],
        cache=cache_bytes(shape),
        layers=layers,
    )


# (bytes a parameter that every GPU holds, bytes a parameter that the GPUs divide): bf16 weights 2 and gradients 2, fp32
# copy and two Adam moments 12. ZeRO: Rajbhandari et al., arXiv 1910.02054.
STATES = {"ddp": (16, 0), "zero1": (4, 12), "zero2": (2, 14), "zero3": (0, 16)}
LORA = {"ddp": (2, 0), "zero1": (2, 0), "zero2": (2, 0), "zero3": (0, 2)}  # the base alone; adapters are below 1%


def states(parameters: int, gpus: int, engine: str, lora: bool) -> float:
    """Bytes of weights, gradients and optimiser on one GPU."""
    held, divided = (LORA if lora else STATES)[engine]
    return parameters * (held + divided / gpus)


def sampling_group(parameters: int, memory: float) -> int:
    """GPUs that sample together (tensor parallel): the fewest for which the weights fill at most half of each."""
    group = 1
    while 2 * parameters / group > memory / 2:
        group *= 2
    return group


def step(method: Method, cost: Parts, sequences: int, lengths: tuple[int, int], gpus: int, engine: str, lora: bool,
         machine: Machine, memory: float) -> tuple[float, float, float]:  # fmt: skip
    """Seconds of one step with `sequences` pairs or prompts over all GPUs: computing, traffic and sampling.

    Two sequences go through a GPU at once. A LoRA's backward pass needs no weight gradients of the base: half of the
    operations. With gradient checkpointing a forward pass comes on top. ZeRO-3 gathers the weights for the forward and
    the backward pass of each micro-batch, and once more if models are scored; gradients are reduced once a micro-batch
    under ZeRO-2 and 3, once a step otherwise. Sampling is bound by memory: each token reads the group's share of the
    weights and of the cache of all its answers.

    Args:
        lengths: tokens of a sequence, and of these of its answer.
    """
    tokens, answer = lengths
    backward = cost.backward / (2 if lora else 1) + cost.forward
    operations = sequences * (method.trained * (cost.forward + backward) + method.scored * cost.forward)
    computing = operations / (gpus * machine.peak * machine.reached)
    micro_batches = -(-sequences * method.trained // (2 * gpus))
    link = machine.node_link if gpus <= machine.per_node else machine.net_link
    weights = micro_batches * (2 + (method.scored > 0)) if engine == "zero3" else 0
    gradients = 0 if lora else micro_batches if engine in ("zero2", "zero3") else 2
    traffic = 2 * cost.parameters * (weights + gradients) / link if gpus > 1 else 0.0
    sampling = 0.0
    if method.sampled:
        group = min(gpus, sampling_group(cost.parameters, memory))
        answers = -(-sequences * method.sampled * group // gpus)
        read = bytes_of_a_token(2 * cost.parameters, answers, tokens, answer, cost.cache) / group
        sampling = answer * read / machine.memory
    return computing, traffic, sampling


def rows(tokens: int, answer: int, sequences: int, machine: Machine, memory: float) -> list[dict]:
    """One row for each model, method, training and number of GPUs, with the first engine that fits."""
    found = []
    for name in ("7B", "70B"):
        cost = parts(SHAPES[name], tokens)
        for method_name, method in METHODS.items():
            for lora in (True, False):
                for gpus in (1, 8, 16, 64, 512):
                    for engine in STATES:
                        others = states(cost.parameters, gpus, engine if engine == "zero3" else "ddp", lora=True)
                        size = states(cost.parameters, gpus, engine, lora) + method.models * others
                        size += 2 * cost.checkpointed
                        if size <= memory or engine == "zero3":
                            break
                    computing, traffic, sampling = step(
                        method, cost, max(sequences, gpus), (tokens, answer), gpus, engine, lora, machine, memory
                    )
                    found.append(
                        {
                            "model": name, "method": method_name, "trained": "LoRA" if lora else "all", "gpus": gpus,
                            "engine": engine, "fits": size <= memory, "gib_per_gpu": round(size / GIB, 1),
                            "sequences": max(sequences, gpus), "computing_s": round(computing, 2),
                            "traffic_s": round(traffic, 2), "sampling_s": round(sampling, 2),
                        }
                    )  # fmt: skip
    return found


def check(tokens: int) -> dict:
    """The smallest shape counted as a whole and from two layers."""
    shape = SHAPES["135M"]
    whole, derived = count(shape, tokens, shape["num_hidden_layers"]), parts(shape, tokens)
    names = ("parameters", "forward", "backward", "kept")
    return {name: getattr(derived, name) / value for name, value in zip(names, whole, strict=True)}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=2048, help="of a sequence, prompt and answer")
    parser.add_argument("--answer", type=int, default=512, help="tokens of a sampled answer")
    parser.add_argument("--sequences", type=int, default=64, help="pairs or prompts of a step, at least one a GPU")
    parser.add_argument("--memory_gib", type=float, default=72, help="usable memory of a GPU")
    parser.add_argument("--reached", type=float, default=0.4, help="share of the peak that training reaches")
    parser.add_argument("--check", action="store_true", help="compare the derived parts with a whole model")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    machine = replace(Machine(), reached=options.reached)
    result = {
        "machine": asdict(machine),
        "settings": {name: value for name, value in vars(options).items() if name not in ("json", "check")},
        "parts": {name: asdict(parts(SHAPES[name], options.tokens)) for name in ("7B", "70B")},
        "rows": rows(options.tokens, options.answer, options.sequences, machine, options.memory_gib * GIB),
    }
    if options.check:
        result["derived_over_counted"] = check(options.tokens)
        print(result["derived_over_counted"])
    for row in result["rows"]:
        print(
            "  ".join(
                f"{value!s:>{width}}"
                for value, width in zip(row.values(), (4, 38, 5, 4, 6, 6, 8, 4, 8, 6, 6), strict=True)
            )
        )
    if options.json:
        lines = ",\n  ".join(json.dumps(row) for row in result.pop("rows"))
        head = json.dumps(result, indent=1).removesuffix("\n}")
        options.json.write_text(f'{head},\n "rows": [\n  {lines}\n ]\n}}\n', encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
