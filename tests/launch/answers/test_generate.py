import json

import pytest
import torch

from launch.answers import generate
from launch.answers.backends import Decoding, Item, TransformersBackend
from launch.answers.prompts import read_prompts
from launch.answers.records import prompt_id, read_generations
from launch.answers.sampling import RowwiseSampler, draw_seed
from launch.common.resume import PartialFile
from tests.launch.model_flags import MODEL_FLAGS, POLICY
from tests.tiny import build_adapter
from trl_ext.modpo.digest import model_digest

TEXTS = [
    "Why is the sky blue?",
    "Tell me about the sea. " * 5,
    "How do I bake bread?",
    "a",
    "The wind?",
    "Tell me about the wind and the sea.",
    "salt",
]
SAMPLED = ["--do_sample", "--temperature", "0.9", "--top_p", "0.95", "--num_samples", "3", "--seed", "5"]


@pytest.fixture
def prompts_file(write_rows):
    return write_rows("prompts.jsonl", [{"prompt": text} for text in TEXTS])


def flags(model_dir, prompts_file, out, *extra, label="sft"):
    return [
        *["--model", model_dir, *MODEL_FLAGS, "--prompts", prompts_file, "--out", str(out), "--label", label],
        *["--max_new_tokens", "12", "--batch_size", "2", *extra],
    ]


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_records_hold_the_prompt_and_the_greedy_answer_in_file_order(model_dir, prompts_file, tmp_path):
    assert generate.main(flags(model_dir, prompts_file, tmp_path / "out")) == 0
    records = lines(tmp_path / "out/sft/00001-of-00001.jsonl")
    assert [record["prompt"] for record in records] == TEXTS
    assert [record["prompt_id"] for record in records] == [
        prompt_id([{"role": "user", "content": text}]) for text in TEXTS
    ]
    assert not list((tmp_path / "out/sft").glob("*.partial.jsonl"))
    from launch.answers.policy import Policy

    policy = Policy(model_dir, **POLICY)
    for record in records:
        ids = policy.encode_prompt(record["messages"])
        answer = []
        # An independent greedy loop: no batch, no padding, no cache.
        while len(answer) < 12 and 2 not in answer:
            with torch.no_grad():
                logits = policy.model(torch.tensor([ids + answer])).logits
            answer.append(int(logits[0, -1].argmax()))
        assert record["prompt_tokens"] == len(ids)
        assert record["response_tokens"] == len(answer)
        assert record["capped"] is (2 not in answer)
        text = [token for token in answer if token != 2]
        assert record["response"] == policy.tokenizer.decode(text, skip_special_tokens=True)
        assert record["prompt_truncated"] is False
    # The random model was made so that both outcomes occur; otherwise the comparison above shows nothing.
    assert {record["capped"] for record in records} == {True, False}


@pytest.mark.parametrize("extra", [[], SAMPLED])
def test_an_interrupted_run_ends_with_the_same_bytes(model_dir, prompts_file, tmp_path, monkeypatch, extra):
    generate.main(flags(model_dir, prompts_file, tmp_path / "whole", *extra))
    genuine = TransformersBackend.generate
    calls = []

    def dies_in_the_third_batch(self, items):
        calls.append(len(items))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return genuine(self, items)

    monkeypatch.setattr(TransformersBackend, "generate", dies_in_the_third_batch)
    with pytest.raises(KeyboardInterrupt):
        generate.main(flags(model_dir, prompts_file, tmp_path / "torn", *extra))
    partial = tmp_path / "torn/sft/00001-of-00001.partial.jsonl"
    assert len(lines(partial)) == 4
    assert not (tmp_path / "torn/sft/00001-of-00001.jsonl").exists()
    # The last line is cut off in the middle, as a power cut would leave it.
    partial.write_bytes(partial.read_bytes()[:-20])

    counted = []

    def counts(self, items):
        counted.append(len(items))
        return genuine(self, items)

    monkeypatch.setattr(TransformersBackend, "generate", counts)
    generate.main(flags(model_dir, prompts_file, tmp_path / "torn", *extra))
    items = len(TEXTS) * (3 if extra else 1)
    assert sum(counted) == items - 2, "one finished batch is kept, the batch of the torn line is drawn again"
    files = [tmp_path / place / "sft/00001-of-00001.jsonl" for place in ("whole", "torn")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not partial.exists()


@pytest.mark.parametrize("extra", [[], SAMPLED])
def test_shards_joined_equal_the_unsharded_run(model_dir, prompts_file, tmp_path, extra):
    generate.main(flags(model_dir, prompts_file, tmp_path / "whole", *extra))
    for rank in range(3):
        part = flags(model_dir, prompts_file, tmp_path / "parts", *extra, "--shard_id", str(rank), "--num_shards", "3")
        generate.main(part)
    files = sorted(path.name for path in (tmp_path / "parts/sft").glob("*-of-*"))
    assert files == ["00001-of-00003.jsonl", "00002-of-00003.jsonl", "00003-of-00003.jsonl"]
    assert read_generations(tmp_path / "parts/sft") == read_generations(tmp_path / "whole/sft")


def test_samples_differ_and_follow_the_seed(model_dir, prompts_file, tmp_path):
    generate.main(flags(model_dir, prompts_file, tmp_path / "a", *SAMPLED))
    generate.main(flags(model_dir, prompts_file, tmp_path / "b", *SAMPLED[:-1], "6"))
    first, other = (lines(tmp_path / place / "sft/00001-of-00001.jsonl") for place in "ab")
    assert [record["sample"] for record in first] == [0, 1, 2] * len(TEXTS)
    assert sum(x["response"] != y["response"] for x, y in zip(first[::3], first[1::3], strict=True)) >= 5
    assert sum(x["response"] != y["response"] for x, y in zip(first, other, strict=True)) >= 10


def test_an_adapter_changes_the_answers_and_a_null_adapter_does_not(
    model_dir, adapter_dir, null_adapter_dir, prompts_file, tmp_path
):
    for name, extra in (("base", []), ("null", ["--adapter", null_adapter_dir]), ("one", ["--adapter", adapter_dir])):
        generate.main(flags(model_dir, prompts_file, tmp_path, *extra, label=name))
    base, null, one = ([r["response"] for r in read_generations(tmp_path / name)] for name in ("base", "null", "one"))
    assert base == null
    assert base != one


def test_other_settings_in_the_same_directory_are_refused_by_name(model_dir, adapter_dir, prompts_file, tmp_path):
    generate.main(flags(model_dir, prompts_file, tmp_path / "out"))
    with pytest.raises(ValueError, match="no_repeat_ngram_size = 0, now it is 3"):
        generate.main(flags(model_dir, prompts_file, tmp_path / "out", "--no_repeat_ngram_size", "3"))
    with pytest.raises(ValueError, match="adapter = None"):
        generate.main(flags(model_dir, prompts_file, tmp_path / "out", "--adapter", adapter_dir))
    with pytest.raises(ValueError, match="prompts = 7, now it is 3"):
        generate.main(flags(model_dir, prompts_file, tmp_path / "out", "--limit", "3"))


def test_other_weights_under_the_same_name_are_refused(model_dir, prompts_file, tmp_path):
    place = str(build_adapter(model_dir, tmp_path / "adapter", seed=7))
    generate.main(flags(model_dir, prompts_file, tmp_path / "out", "--adapter", place))
    build_adapter(model_dir, tmp_path / "adapter", seed=8)
    with pytest.raises(ValueError, match="adapter_fingerprint"):
        generate.main(flags(model_dir, prompts_file, tmp_path / "out", "--adapter", place))


def test_a_complete_shard_is_not_drawn_again(model_dir, prompts_file, tmp_path, monkeypatch, capsys):
    generate.main(flags(model_dir, prompts_file, tmp_path / "out"))
    monkeypatch.setattr(generate, "load_answering", lambda *_: pytest.fail("the model was loaded again"))
    assert generate.main(flags(model_dir, prompts_file, tmp_path / "out")) == 0
    assert "complete already" in capsys.readouterr().out


def test_a_damaged_line_in_the_middle_is_an_error(model_dir, prompts_file, tmp_path):
    generate.main(flags(model_dir, prompts_file, tmp_path / "out"))
    whole = tmp_path / "out/sft/00001-of-00001.jsonl"
    damaged = whole.with_name("00001-of-00001.partial.jsonl")
    damaged.write_text("{}\n" + whole.read_text())
    whole.unlink()
    with pytest.raises(ValueError, match=r"partial\.jsonl:1"):
        generate.main(flags(model_dir, prompts_file, tmp_path / "out"))


def test_long_prompts_lose_their_beginning_and_are_flagged(policy, write_rows):
    prompts = read_prompts(write_rows("p.jsonl", [{"prompt": TEXTS[0]}, {"prompt": TEXTS[1]}]))
    limit = len(policy.encode_prompt(prompts[0].messages))
    backend = TransformersBackend(policy, Decoding(max_new_tokens=2), limit)
    seen = []
    genuine = policy.model.generate

    def spy(**inputs):
        seen.append(inputs["input_ids"].tolist())
        return genuine(**inputs)

    backend.policy.model.generate = spy
    try:
        answers = backend.generate([Item(prompt, 0) for prompt in prompts])
    finally:
        del backend.policy.model.generate
    assert [answer.prompt_truncated for answer in answers] == [False, True]
    assert [answer.prompt_tokens for answer in answers] == [limit, limit]
    assert seen[0][1] == policy.encode_prompt(prompts[1].messages)[-limit:]


def test_prompts_are_distinct_in_order_and_without_their_answers(write_rows):
    ask = [{"role": "user", "content": "Why?"}]
    rows = [
        {"messages": [*ask, {"role": "assistant", "content": "one"}], "extra": 1},
        {"prompt": "Why?"},
        {"prompt": [{"role": "system", "content": "Be brief"}, *ask]},
        {"messages": [*ask, {"role": "assistant", "content": "two"}]},
        {"prompt": "How?"},
        {"prompt": "Who?"},
    ]
    path = write_rows("p.jsonl", rows)
    assert [prompt.messages[-1]["content"] for prompt in read_prompts(path)] == ["Why?", "Why?", "How?", "Who?"]
    assert [prompt.messages[0]["role"] for prompt in read_prompts(path, 3)] == ["user", "system", "user"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "x"}, "no field 'messages' or 'prompt' or 'question'"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "no message of the role 'user'"),
        ({"messages": [{"role": "user"}]}, "has the content None: a text is valid"),
        ({"prompt": 3}, "'prompt' must be a text or a list of messages, found a int: 3"),
    ],
)
def test_prompt_errors_name_the_line(write_rows, row, message):
    path = write_rows("p.jsonl", [{"prompt": "fine"}, row])
    with pytest.raises(ValueError, match=message) as error:
        read_prompts(path)
    assert f"{path}:2" in str(error.value)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--temperature", "0.5"], "without --do_sample"),
        (["--num_samples", "2"], "without --do_sample"),
        (["--do_sample", "--temperature", "0"], "--temperature must be positive"),
        (["--shard_id", "2", "--num_shards", "2"], "--shard_id"),
        (["--base_url", "x"], "--backend openai"),
        (["--backend", "openai"], "--base_url"),
        (["--label", "a/b"], "label 'a/b'"),
        (["--max_new_tokens", "600"], "leaves no room"),
    ],
)
def test_impossible_flags_are_named(model_dir, prompts_file, tmp_path, extra, message):
    with pytest.raises(ValueError, match=message):
        generate.main(flags(model_dir, prompts_file, tmp_path / "out", *extra))


def test_the_sampler_draws_from_the_softmax():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(2, 1)
    n = 20000
    sampler = RowwiseSampler([1, 2], torch.device("cpu"))
    counts = torch.zeros(2, 4)
    for _ in range(n):
        picks = sampler(None, logits).argmax(-1)
        counts[[0, 1], picks] += 1
    torch.testing.assert_close(counts / n, logits.exp(), rtol=0, atol=0.015)


def test_the_sampler_applies_temperature_before_top_p():
    logits = torch.log(torch.tensor([[0.4, 0.3, 0.2, 0.1]]))
    # At temperature 0.5 the shares become 16, 9, 4 and 1 of 30, so the first two hold 0.83 and top_p 0.8 keeps them.
    sampler = RowwiseSampler([4], torch.device("cpu"), temperature=0.5, top_p=0.8)
    picks = torch.tensor([int(sampler(None, logits).argmax()) for _ in range(8000)])
    shares = torch.bincount(picks, minlength=4) / 8000
    torch.testing.assert_close(shares, torch.tensor([16 / 25, 9 / 25, 0, 0]), rtol=0, atol=0.02)


def test_seeds_depend_on_each_argument():
    seeds = {draw_seed(seed, key, sample) for seed in (0, 1) for key in ("a", "b") for sample in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_records_appended_after_a_torn_line_can_be_read_again(tmp_path):
    def row(key):
        return {"prompt_id": key, "sample": 0, "response": "ä\u2028b"}

    path = tmp_path / "x.partial.jsonl"
    with PartialFile(path) as file:
        file.append([row("a"), row("b")])
        with pytest.raises(ValueError, match="another run is writing there"):
            PartialFile(path)
    path.write_bytes(path.read_bytes()[:-9])
    with PartialFile(path) as torn:
        assert list(torn.records) == [("a", 0)]
        torn.append([row("c"), row("a") | {"response": "again"}])
    with PartialFile(path) as again:
        assert again.records == {("a", 0): row("a") | {"response": "again"}, ("c", 0): row("c")}
        again.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_model_digest_sees_both_ends_of_large_weights_and_small_files_whole(tmp_path):
    weights = bytearray(3 << 20)
    (tmp_path / "config.json").write_text("{}")
    seen = set()
    for place in (None, 0, len(weights) - 1):
        if place is not None:
            weights[place] ^= 1
        (tmp_path / "model.safetensors").write_bytes(weights)
        seen.add(model_digest(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    seen.add(model_digest(tmp_path))
    assert len(seen) == 4
    (tmp_path / "trainer_state.json").write_text("{}")
    assert model_digest(tmp_path) in seen
