"""What the tables of docs/d2po.md and docs/moodpo.md say of the run files, worked out from the files; and that their budgets fit."""

import math
import re
from functools import cache

import pytest
import yaml

from launch.common.operations import SHAPES, parameters
from tests.conftest import REPOSITORY
from tests.launch.test_run_files import processes

RUNS, GIB, USABLE = REPOSITORY / "launch" / "runs", 2**30, 72  # GiB of a GPU of 80 GB, as docs/scaling.md assumes
ON_GPUS = ("one_gpu", "eight_gpus", "two_nodes", "vllm_server")
PACK_DEFAULTS = {"completions": 2, "discriminator_epochs": 1, "weights_vertex": 0.1, "weights_centre": 0.05}
DEFAULTS = {"gradient_accumulation_steps": 1, "max_prompt_tokens": 256, **PACK_DEFAULTS}


@cache
def run_of(method: str, name: str) -> dict:
    return DEFAULTS | yaml.safe_load((RUNS / method / f"{name}.yaml").read_text())


def ranks(method: str, name: str) -> int:
    path = RUNS / method / f"{name}.yaml"
    return processes(path) if name in ON_GPUS else 1


def a_step(method: str, name: str) -> int:
    """Pairs or prompts of a step."""
    run = run_of(method, name)
    return ranks(method, name) * run["per_device_train_batch_size"] * run["gradient_accumulation_steps"]


def sum_of_rates(run: dict) -> float:
    steps, warm, top = run["max_steps"], run["warmup_steps"], run["learning_rate"]
    falling = run["lr_scheduler_type"] == "cosine"

    def share(step: int) -> float:
        if step < warm:
            return step / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) if falling else 1.0

    return top * sum(map(share, range(steps)))


def nats_to_a_tenth(run: dict) -> float:
    """By how much a pair's log-ratios differ when sigma(-beta d) is a tenth of its one half at the start."""
    return math.log(19) / run["beta"]


def d2po_row(name: str) -> list[float]:
    run = run_of("d2po", name)
    pairs = a_step("d2po", name) * run["max_steps"]
    windows = pairs / run["window_pairs"]
    update = run["labels_per_window"] + run["discriminator_replay"]
    steps = -(-update // run["discriminator_batch_size"]) * run["discriminator_epochs"]
    learnt = steps * windows * run["discriminator_learning_rate"]
    bought = windows * run["labels_per_window"]
    return [pairs, windows, bought, pairs / bought, steps, sum_of_rates(run), learnt, nats_to_a_tenth(run)]


def moodpo_row(name: str) -> list[float]:
    run = run_of("moodpo", name)
    prompts = a_step("moodpo", name) * run["max_steps"]
    drawn = 1 - run["weights_vertex"] - run["weights_centre"]
    draws = run["gradient_accumulation_steps"]
    return [prompts, prompts * drawn / 10, draws, sum_of_rates(run), nats_to_a_tenth(run)]


ROWS = {"d2po": d2po_row, "moodpo": moodpo_row}
FILES = {
    "d2po": [*ON_GPUS, "smollm2_nouns", "smollm2_words"],
    "moodpo": [*ON_GPUS, "summary", "smollm2_sea_forest"],
}


@pytest.mark.parametrize("method", ROWS)
def test_the_page_says_what_the_files_ask_for(method):
    page = (REPOSITORY / "docs" / f"{method}.md").read_text("utf-8")
    section = page.partition("## What the run files ask for")[2].partition("\n## ")[0]
    told = {}
    for names, cells in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.*) \|$", section, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            told[name] = [float(cell.replace(",", "")) for cell in cells.split(" | ")]
    assert set(told) == set(FILES[method])
    for name, said in told.items():
        found = ROWS[method](name)
        assert len(said) == len(found)
        for one, other in zip(said, found, strict=True):
            assert one == pytest.approx(other, rel=0.03), (name, said, found)


@pytest.mark.parametrize("name", ON_GPUS)
def test_labels_last_for_the_whole_run_and_are_the_authors_share(name):
    run = run_of("d2po", name)
    _, windows, bought, *_ = d2po_row(name)
    assert bought == run["max_labels"] and windows == int(windows)
    assert run["window_pairs"] / run["labels_per_window"] == pytest.approx(16, abs=2)  # theirs: 5 of 80
    assert run["eval_strategy"] == "steps" and run["eval_on_start"]  # or label-curve has nothing to read


@pytest.mark.parametrize(("method", "name"), [(method, name) for method in ROWS for name in ON_GPUS])
def test_one_gpu_holds_what_the_header_counts(method, name):
    """And the logits of a micro-batch: 2 bytes at every token, 4 and their gradient at those of an answer."""
    run, path = run_of(method, name), RUNS / method / f"{name}.yaml"
    weights = 2 * parameters(SHAPES["7B"]) / GIB
    tokens, answer = run["max_prompt_tokens"] + run["max_new_tokens"], run["max_new_tokens"]
    rows = 2 * run["per_device_train_batch_size"]
    logits = rows * SHAPES["7B"]["vocab_size"] * (2 * tokens + 8 * answer) / GIB
    vllm = 80 * run["vllm_gpu_memory_utilization"] if run["vllm_mode"] == "colocate" else 0
    others = 2 * weights if method == "d2po" else 4
    header = path.read_text().partition("# Data")[0]
    parts = re.findall(r"(\d+)(?: GiB)? (?:policy|discriminator|gold|reward models|vLLM)", header)
    said = sum(map(int, parts)) or int(re.search(r"(\d+) GiB on", header)[1])
    assert said == pytest.approx(18 + others + vllm, abs=1)
    assert 18 + others + vllm + logits < USABLE
    if method == "d2po":
        assert run["discriminator_dtype"] == "bfloat16"  # twice as much otherwise


@pytest.mark.parametrize(("method", "name"), [(method, name) for method in ROWS for name in FILES[method]])
def test_the_longest_prompt_and_answer_fit(method, name):
    run = run_of(method, name)
    wish = 60 if method == "moodpo" else 0  # tokens of the sentence with the weights, and of what a template adds
    assert run["max_prompt_tokens"] + wish + run["max_new_tokens"] <= run["max_length"]
