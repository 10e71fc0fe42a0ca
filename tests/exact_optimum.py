"""A language whose optimum of MODPO is known, and pairs whose labels have their Bradley-Terry frequencies to the last row.

Every token has one log-probability, whatever stands before it: the embeddings are equal, attention and the layers behind it
add nothing, and the output rows are a table. Rewards are counts of digits. So for answers of equal length the policy
ref exp((w r_A + (1 - w) r_B) / beta) is again such a table, the reference's plus a number for each digit, exactly.

SCALE = log 3 gives a pair whose r_A differs by one, two, none the label of the first with probability 3/4, 9/10, 1/2: three
rows to one, nine to one, one to one are the expectation over labels.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.tiny import build_tokenizer, random_llama

SCALE, BETA = math.log(3), 0.5
A, B = {"1": 1, "2": 2, "5": 1}, {"3": 1, "4": 2, "5": 1}
PAIRS = [("510000", "100000"), ("011000", "014000"), ("002000", "000700"), ("000130", "000016"), ("500000", "434000")]


def count(points: Mapping[str, int], text: str) -> int:
    return sum(points.get(letter, 0) for letter in text)


def reward_b(prompts: Sequence[str], responses: Sequence[str], *, response_tokens: Sequence[int]) -> list[float]:
    """r_B before SCALE, as a margin by function."""
    return [float(count(B, text)) for text in responses]


def tilt(w_a: float, w_b: float) -> dict[str, float]:
    """Digit -> log pi / pi_ref at the optimum, up to a constant."""
    return {digit: SCALE * (w_a * A.get(digit, 0) + w_b * B.get(digit, 0)) / BETA for digit in "0123456789"}


def build_table(folder: Path, added: Mapping[str, float] | None = None) -> Path:
    """The reference, or the reference with `added` to the logits of these tokens.

    The last hidden state is a row of ones. Its second entry reads minus half of tilt(0, 1), so that an adapter which turns
    that entry to -1 adds tilt(0, 1), and no norm on the way changes.
    """
    import torch
    from transformers import AutoTokenizer

    folder.mkdir(parents=True)
    build_tokenizer(folder)
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    model = random_llama("LlamaForCausalLM", 4, tie_word_embeddings=False, **tokens)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        model.model.embed_tokens.weight.fill_(1)
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight[:, 1] = -_column(tokenizer, tilt(0, 1)) / 2
        model.lm_head.weight[:, 0] += _column(tokenizer, added or {})
    model.save_pretrained(folder)
    return folder


def build_table_adapter(reference: Path, folder: Path) -> Path:
    """A LoRA adapter on the last layer that adds tilt(0, 1) to the logits of `reference`."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    where = {"target_modules": ["down_proj"], "layers_to_transform": [1]}
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(reference), LoraConfig(r=2, lora_alpha=8, task_type="CAUSAL_LM", **where)
    )
    layer, seen = model.base_model.model.model.layers[1].mlp.down_proj, []
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][0, 0]))
    with torch.no_grad():
        model(input_ids=torch.tensor([[1]]))
        layer.lora_A["default"].weight[0] = seen[0] / seen[0].square().sum()
        layer.lora_B["default"].weight[1, 0] = -2 / layer.scaling["default"]
    model.save_pretrained(folder)
    return folder


def _column(tokenizer, added: Mapping[str, float]):
    """(400,) what is added to the logit of every token."""
    import torch

    column = torch.zeros(400)
    for token, value in added.items():
        (place,) = tokenizer.encode(token, add_special_tokens=False)
        column[place] = value
    return column


def labelled() -> tuple[list[tuple[str, str]], float]:
    """(chosen, rejected) with every label as often as Bradley and Terry say of r_A, and the loss of the true policy."""
    rows, loss = [], 0.0
    for first, second in PAIRS:
        difference = count(A, first) - count(A, second)
        times, opposite = 3 ** max(difference, 0), 3 ** max(-difference, 0)
        rows += [(first, second)] * times + [(second, first)] * opposite
        loss -= times * math.log(times / (times + opposite)) + opposite * math.log(opposite / (times + opposite))
    return rows, loss / len(rows)
