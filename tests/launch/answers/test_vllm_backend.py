"""`--backend vllm` with the real engine, in fp32 on a CPU: greedy answers are those of transformers, draws follow their seed.

The engine runs in the process of the test. `test_backend_choice.py` has what goes without vLLM.
"""

import json
import math
from collections import Counter
from importlib.util import find_spec

import pytest

from launch.__main__ import main
from launch.answers.backends import Decoding, Item, TransformersBackend
from launch.answers.engine import Engine, VLLMBackend
from launch.answers.local import LOCAL
from launch.answers.policy import Policy
from launch.answers.prompts import asked
from tests import tiny
from tests.engines.record import VERBS, record

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed in this environment"),
]
HEAD = 32  # vLLM's attention on a CPU has no smaller one
TEXTS = [
    "Why is the sky blue?",
    "Tell me about the sea. " * 5,
    "How do I bake bread?",
    "a",
    "The wind?",
    "salt",
    "Name it",
]
ITEMS = [Item(asked(text), 0) for text in TEXTS]
SAMPLED = Decoding(max_new_tokens=12, do_sample=True, temperature=0.9, top_p=0.95, top_k=200, seed=5)


@pytest.fixture(scope="module", autouse=True)
def engine_here():
    """One process, little memory: what `launch.answers.engine` leaves to the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Some of its greedy answers end early."""
    folder = tmp_path_factory.mktemp("model")
    return str(tiny.build_model(folder, seed=4, pad_token="<|im_end|>", end_gain=1.8, head_dim=HEAD))


@pytest.fixture(scope="module")
def adapter(model, tmp_path_factory):
    return str(
        tiny.build_adapter(model, tmp_path_factory.mktemp("adapter"), seed=1, target_modules=("q_proj", "up_proj"))
    )


@pytest.fixture(scope="module")
def engine(model):
    return Engine(model)


@pytest.fixture(scope="module")
def tuned(model, adapter):
    return Engine(model, adapters=adapter)


GREEDY = [Decoding(max_new_tokens=12), Decoding(max_new_tokens=9, repetition_penalty=1.3)]


@pytest.mark.parametrize("decoding", GREEDY, ids=["plain", "penalty"])
@pytest.mark.parametrize("limit", [None, 20], ids=["whole", "shortened"])
def test_greedy_answers_are_those_of_transformers(model, engine, decoding, limit):
    """Texts, counts of tokens, ends and shortened prompts: the whole records."""
    expected = TransformersBackend(Policy(model), decoding, limit).generate(ITEMS)
    assert VLLMBackend(engine, decoding, limit).generate(ITEMS) == expected
    if (decoding, limit) == (GREEDY[0], None):
        assert {answer.capped for answer in expected} == {True, False}
    assert any(answer.prompt_truncated for answer in expected) is (limit is not None)


@pytest.mark.parametrize("decoding", GREEDY, ids=["plain", "penalty"])
def test_greedy_answers_of_an_adapter_are_those_of_transformers(model, adapter, tuned, engine, decoding):
    expected = TransformersBackend(Policy(model, adapters=adapter), decoding).generate(ITEMS)
    assert VLLMBackend(tuned, decoding).generate(ITEMS) == expected
    assert tuned.running.request is not None and tuned.running.merged is None
    assert expected != VLLMBackend(engine, decoding).generate(ITEMS)


def test_draws_follow_their_seed_and_not_their_company(engine):
    items = [Item(item.prompt, sample) for item in ITEMS for sample in range(4)]
    drawn = VLLMBackend(engine, SAMPLED).generate(items)
    backwards = VLLMBackend(engine, SAMPLED).generate(items[::-1])[::-1]
    few = VLLMBackend(engine, SAMPLED).generate(items[5:9])
    assert drawn == backwards and drawn[5:9] == few
    other = VLLMBackend(engine, Decoding(**{**vars(SAMPLED), "seed": 6})).generate(items)
    assert sum(a != b for a, b in zip(drawn, other, strict=True)) > len(items) // 2
    assert sum(a != b for a, b in zip(drawn[::4], drawn[1::4], strict=True)) > len(ITEMS) // 2


def test_draws_are_from_the_distribution_that_was_asked_for(model, engine):
    """First tokens of 3000 draws against the softmax of transformers at that temperature, cut at the six likeliest."""
    import torch

    decoding = Decoding(max_new_tokens=1, do_sample=True, temperature=1.7, top_k=6)
    policy, prompt = Policy(model), ITEMS[0].prompt
    with torch.no_grad():
        logits = policy.model(torch.tensor([policy.encode_prompt(prompt.messages)])).logits[0, -1] / 1.7
    best = logits.topk(6)
    expected = dict(zip(best.indices.tolist(), best.values.softmax(-1).tolist(), strict=True))
    count = 3000
    backend = VLLMBackend(engine, decoding)
    params = [backend._params(Item(prompt, sample)) for sample in range(count)]
    room = len(backend._seen(prompt)) + 1
    drawn = Counter(
        tokens[0]
        for done in engine.running.generate([backend._seen(prompt)] * count, params, room, 256)
        for _, tokens in done
    )
    assert drawn.keys() <= expected.keys() and max(expected.values()) < 0.9
    for token, p in expected.items():
        assert abs(drawn[token] / count - p) < 4.5 * math.sqrt(p * (1 - p) / count)


# In one process an engine that ends takes what others share with it, so those of the fixtures are not used from here on.


def test_an_adapter_that_vllm_does_not_serve_is_merged_and_said(model, tmp_path, capsys):
    adapter = str(tiny.build_adapter(model, tmp_path / "head", seed=3, target_modules=("q_proj", "lm_head")))
    expected = TransformersBackend(Policy(model, adapters=adapter), GREEDY[0]).generate(ITEMS)
    merged = Engine(model, adapters=adapter)
    assert "so the adapter is merged into the base first" in capsys.readouterr().out
    assert merged.running.request is None and merged.running.adapter is None
    assert VLLMBackend(merged, GREEDY[0]).generate(ITEMS) == expected


def test_the_engine_starts_anew_only_for_longer_rows(model):
    engine = Engine(model)
    short, long = Decoding(max_new_tokens=4), Decoding(max_new_tokens=100)
    VLLMBackend(engine, short).generate(ITEMS[3:4])
    first = engine.running.llm
    assert engine.running.room == 32
    VLLMBackend(engine, short).generate(ITEMS[4:6])
    assert engine.running.llm is first
    VLLMBackend(engine, long).generate(ITEMS[:1])
    assert engine.running.llm is not first and engine.running.room == 128


# --- through the verbs ----------------------------------------------------------------------------------------------------


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    return str(tiny.write_rows(tmp_path_factory.mktemp("rows") / "prompts.jsonl", [{"prompt": text} for text in TEXTS]))


def test_an_interrupted_run_asks_for_what_is_missing_and_ends_with_the_same_bytes(
    model, adapter, prompts, tmp_path, monkeypatch
):
    how = ["--do_sample", "--temperature", "0.9", "--num_samples", "3", "--seed", "5", "--max_new_tokens", "12"]
    flags = ["generate", "--model", model, "--adapter", adapter, "--prompts", prompts, "--label", "a", *how]
    assert main([*flags, "--backend", "vllm", "--out", str(tmp_path / "whole")]) == 0
    genuine, kept = VLLMBackend.draw, []

    def torn(self, items, keep):
        def once(asked_for, answers):
            if kept:
                raise KeyboardInterrupt
            keep(asked_for, answers)
            kept.extend(asked_for)

        return genuine(self, items, once)

    monkeypatch.setattr(VLLMBackend, "draw", torn)
    with pytest.raises(KeyboardInterrupt):
        main([*flags, "--backend", "vllm", "--out", str(tmp_path / "torn")])
    missing = []

    def counting(self, items, keep):
        missing.extend(items)
        return genuine(self, items, keep)

    monkeypatch.setattr(VLLMBackend, "draw", counting)
    assert main([*flags, "--backend", "vllm", "--out", str(tmp_path / "torn")]) == 0
    files = [tmp_path / place / "a/00001-of-00001.jsonl" for place in ("whole", "torn")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(missing) == 3 * len(TEXTS) - len(kept)
    assert main([*flags, "--out", str(tmp_path / "whole")]) == 2  # answers of another back end are other answers


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """Room for the prompts of judges, which a tiny tokenizer makes long. What it says is no verdict, but differs."""
    folder = tmp_path_factory.mktemp("judge")
    return str(tiny.build_model(folder, seed=4, end_gain=1.8, head_dim=HEAD, max_position_embeddings=4096))


@pytest.fixture(scope="module")
def sources(model, tmp_path_factory):
    """Pairs as Anthropic HH and as raw replies, and the folder of a run with one checkpoint."""
    folder = tmp_path_factory.mktemp("sources")
    pairs = [
        {
            "prompt": f"Question {n}?",
            "response_1": f"A reply {n}.",
            "response_2": f"One, and {n}.",
            "preference_strength": 1,
        }
        for n in range(3)
    ]
    start = "\n\nHuman: {prompt}\n\nAssistant: "
    hh = [
        {"chosen": start.format(**one) + one["response_1"], "rejected": start.format(**one) + one["response_2"]}
        for one in pairs
    ]
    (folder / "run").mkdir()
    (folder / "run/checkpoint-1").symlink_to(model)
    return {
        "hh": str(tiny.write_rows(folder / "hh.jsonl", hh)),
        "pairs": str(tiny.write_rows(folder / "pairs.jsonl", pairs)),
        "run": str(folder / "run/*"),
    }


@pytest.mark.parametrize(
    "verb", ["generate", "eval-bt", "variance", "judge", "eval-judge", "pareto", "generate-checkpoints"]
)
def test_every_verb_draws_the_answers_of_transformers(verb, judge, prompts, sources, tmp_path):
    asks = ["--prompts", prompts, "--max_new_tokens", "6"]
    scored = ["--dataset", "anthropic_hh", "--source", sources["hh"], "--limit", "3", "--max_new_tokens", "4"]
    steered = ["--objectives", "brevity", "plain_words", "--policy", "m=moodpo", "--steps", "1"]
    argv, files = {
        "generate": ([*asks, "--label", "a"], "a/0*.jsonl"),
        "eval-bt": (scored, "samples.jsonl"),
        "variance": ([*scored, "--num_samples", "2", "--top_k", "1"], "*/samples.jsonl"),
        "judge": (["--pairs", sources["pairs"], "--max_new_tokens", "4"], "answers.jsonl"),
        "eval-judge": (["--data", sources["pairs"], "--max_new_tokens", "4"], "answers.jsonl"),
        "pareto": ([*asks, *steered, "--temperature", "0", "--num_samples", "1"], "generations/*/0*.jsonl"),
        "generate-checkpoints": ([*asks, "--checkpoints", sources["run"], "--base", "--top_p", "1e-6"], "*/0*.jsonl"),
    }[verb]
    found = {}
    for backend in ("transformers", "vllm"):
        out = tmp_path / backend
        assert main([verb, "--model", judge, *argv, "--out", str(out), "--backend", backend]) == 0
        found[backend] = {str(file.relative_to(out)): rows(file) for file in sorted(out.glob(files))}
    assert found["vllm"] == found["transformers"]
    assert any(row["response"] for records in found["vllm"].values() for row in records)
    if verb in VERBS:
        count = sum(map(len, found["vllm"].values()))
        here(verb, f"{count} greedy answers of one model, their tokens and ends: the same by transformers and by vLLM")


def here(verb: str, seen: str) -> None:
    record(verb, "transformers", "ran", f"in fp32, {seen}", ("transformers", "torch"))
    record(verb, "vLLM in process", "ran", f"in fp32, {seen}", ("vllm", "transformers"))


def test_a_steered_policy_is_asked_with_each_wish_by_one_engine(judge, adapter_of_judge, capsys):
    wishes = ["--weights", "brevity=0.7,plain_words=0.3", "--weights", "plain_words=1"]
    argv = ["steer", "--model", judge, "--adapter", adapter_of_judge, "--objectives", "brevity", "plain_words", *wishes]
    said = []
    for backend in ("transformers", "vllm"):
        assert main([*argv, "--max_new_tokens", "6", "--backend", backend, "Why?"]) == 0
        said.append(capsys.readouterr().out)
    assert said[1] == said[0] and len(said[0].splitlines()) == 4
    here("steer", "greedy answers of a LoRA to two sets of weights: the same by transformers and by vLLM")


def test_the_page_asks_the_engine(judge, adapter_of_judge):
    from launch.moodpo.page import Desk
    from launch.moodpo.steered import load_policy

    decoding, names = Decoding(max_new_tokens=6), ("brevity", "plain_words")
    desks = [Desk(load_policy(judge, adapter_of_judge, backend=name), names, decoding) for name in LOCAL]
    said = [desk.generate([], "Why?", (70, 30)) for desk in desks]
    assert said[1] == said[0]
    here(
        "steer-page",
        "its desk without a browser, a greedy answer of a LoRA to a set of weights: the same by transformers and by vLLM",
    )


@pytest.fixture(scope="module")
def adapter_of_judge(judge, tmp_path_factory):
    return str(tiny.build_adapter(judge, tmp_path_factory.mktemp("adapter_of_judge"), seed=2))
