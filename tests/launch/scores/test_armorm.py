"""`python -m launch armorm` on a tiny model of 19 heads: the numbers, their names, and that they are always the same."""

import json
import re
import shutil

import pytest
import torch

from launch.__main__ import main
from launch.answers.records import shard_name
from launch.common.resume import PartialFile
from launch.common.statistics import bootstrap_mean_interval
from launch.scores.head_summary import summarise_heads
from launch.scores.heads import ARMORM_HEADS
from launch.scores.multi_head import MultiHeadReward
from tests import tiny
from tests.launch.generations import LABELS, generation, write_gens


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def flags(model, gens, out, *extra):
    return ["armorm", "--model", str(model), "--gens", *gens, "--out", str(out), *map(str, extra)]


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_every_head_of_every_shard_is_the_models_own_output(scores, reward_model, gens):
    from transformers import AutoTokenizer, LlamaForSequenceClassification

    out, printed = scores
    model = LlamaForSequenceClassification.from_pretrained(reward_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    for place, label in enumerate(LABELS):
        found = rows(out / f"{label}.jsonl")
        assert len(found) == 12
        for index, row in enumerate(found):
            record = generation(index, label, place)
            chat = f"<|im_start|>user\n{record['prompt']}<|im_end|>\n<|im_start|>assistant\n{record['response']}<|im_end|>\n"
            ids = tokenizer(chat, add_special_tokens=False, return_tensors="pt").input_ids
            with torch.no_grad():
                expected = model(ids).logits[0].tolist()
            assert row["prompt_id"] == record["prompt_id"]
            assert list(row["scores"]) == list(ARMORM_HEADS)
            assert list(row["scores"].values()) == pytest.approx(expected, abs=1e-5)
    assert "head names: built-in ArmoRM table" in printed
    assert "sft    helpsteer-helpfulness  12        0" in printed
    assert "ultrafeedback" not in printed  # the summary on the screen is that of the HelpSteer heads


def test_repetition_gives_the_same_bytes_and_loads_no_model(scores, reward_model, gens, tmp_path, monkeypatch):
    again = tmp_path / "again"
    assert main(flags(reward_model, gens, again)) == 0
    assert contents(again) == contents(scores[0])
    monkeypatch.setattr("launch.scores.multi_head.MultiHeadReward.__init__", lambda *a, **b: pytest.fail("loaded"))
    assert main(flags(reward_model, gens, again)) == 0
    assert contents(again) == contents(scores[0])


@pytest.mark.parametrize("batch_size", [1, 3])
def test_scores_do_not_depend_on_the_batch(scores, reward_model, gens, tmp_path, batch_size):
    main(flags(reward_model, gens, tmp_path, "--batch_size", batch_size))
    for label in LABELS:
        for row, expected in zip(rows(tmp_path / f"{label}.jsonl"), rows(scores[0] / f"{label}.jsonl"), strict=True):
            assert row["scores"] == pytest.approx(expected["scores"], abs=1e-5)


@pytest.mark.parametrize("pad", [None, 2])
def test_whatever_the_pad_token_the_batch_plays_no_part(reward_model, tmp_path, pad):
    """None: no pad token of its own. 2: the token that also ends every turn."""
    folder = tmp_path / "model"
    shutil.copytree(reward_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": pad}))
    gens = write_gens(tmp_path / "gens", ("sft",))
    for size in (1, 8):
        main(flags(folder, gens, tmp_path / str(size), "--batch_size", size))
    together, alone = (rows(tmp_path / str(size) / "sft.jsonl") for size in (8, 1))
    for row, expected in zip(together, alone, strict=True):
        assert row["scores"] == pytest.approx(expected["scores"], abs=1e-5)


def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(
    scores, reward_model, gens, tmp_path, monkeypatch, capfd
):
    out, append, calls = tmp_path / "out", PartialFile.append, []

    def interrupted(self, records):
        append(self, records)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(PartialFile, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(flags(reward_model, gens, out))
    monkeypatch.setattr(PartialFile, "append", append)
    assert len(rows(out / "sft.jsonl")) == 12 and not (out / "w0.2.jsonl").exists()
    assert len(rows(out / ".work" / "w0.2.partial.jsonl")) == 8
    batches = []
    score = MultiHeadReward.rewards
    monkeypatch.setattr(MultiHeadReward, "rewards", lambda self, rows: batches.append(len(rows)) or score(self, rows))
    assert main(flags(reward_model, gens, out)) == 0
    assert batches == [1, 4, 8, 4]  # the probe, what was missing of w0.2, and w0.8
    assert contents(out) == contents(scores[0])
    assert main(flags(reward_model, gens, out, "--batch_size", 4)) == 2
    assert "batch_size = 8, now it is 4" in capfd.readouterr().err


def special_tokenizer(folder, reward_model):
    """The reward model with a tokenizer that adds a beginning token itself, which its template writes too."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    shutil.copytree(reward_model, folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
    begin = tokenizer.convert_tokens_to_ids("<|begin|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", begin)]
    )
    tokenizer.chat_template = "{{ bos_token }}" + tiny.CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer, begin


def test_the_beginning_token_is_never_doubled(reward_model, tmp_path):
    from transformers import LlamaForSequenceClassification

    tokenizer, begin = special_tokenizer(tmp_path / "model", reward_model)
    model = LlamaForSequenceClassification.from_pretrained(tmp_path / "model")
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(tmp_path / "model")
    record = generation(0, "sft")
    text = tokenizer.apply_chat_template(record["messages"], tokenize=False)
    assert tokenizer(text)["input_ids"][:2] == [begin, begin]  # what happens to who tokenises the template's text
    (ids, cut) = MultiHeadReward(str(tmp_path / "model")).encode_record(record)
    assert ids["input_ids"][0] == begin and ids["input_ids"].count(begin) == 1 and not cut


def test_what_is_cut_is_counted_marked_and_keeps_the_answer(scores, reward_model, tmp_path, capsys):
    gens = write_gens(tmp_path / "gens", ("sft",))
    reader = MultiHeadReward(reward_model)
    whole = [len(reader.encode_record(generation(index, "sft"))[0]["input_ids"]) for index in range(12)]
    limit = sorted(whole)[6]  # the length of a row that just fits
    main(flags(reward_model, gens, tmp_path / "out", "--max_length", limit))
    found = rows(tmp_path / "out/sft.jsonl")
    assert [row["reward_truncated"] for row in found] == [length > limit for length in whole]
    model = MultiHeadReward(reward_model, max_length=limit)
    encoded = [model.encode_record(generation(index, "sft")) for index in range(12)]
    assert [len(ids["input_ids"]) for ids, _ in encoded] == [min(length, limit) for length in whole]
    place = next(place for place, (_, cut) in enumerate(encoded) if cut)
    assert generation(place, "sft")["response"] in model.tokenizer.decode(encoded[place][0]["input_ids"])
    count = sum(cut for _, cut in encoded)
    assert f"sft: {count} of 12 conversations lost their beginning: --max_length" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/summary.json").read_text())["truncated"] == {"sft": count}


def test_the_summary_is_the_reference_bootstrap_and_counts_what_is_missing(scores):
    out, _ = scores
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["kind"], len(summary["rows"])) == ("head_summary", 3 * 19)
    values = [row["scores"]["helpsteer-verbosity"] for row in rows(out / "w0.8.jsonl")]
    (row,) = [r for r in summary["rows"] if (r["label"], r["head"]) == ("w0.8", "helpsteer-verbosity")]
    found = bootstrap_mean_interval(values, 0, 1000, 0.05)
    assert (row["mean"], row["low"], row["high"]) == (found.value, found.low, found.high)
    assert row["std"] == pytest.approx(torch.tensor(values, dtype=torch.float64).std(correction=0).item(), abs=1e-12)
    assert (out / "summary.csv").read_text().splitlines()[0] == "label,head,n,missing,prompts,mean,std,low,high"


def test_samples_of_a_prompt_are_one_unit_and_missing_scores_are_counted():
    table = {
        "a": {
            ("p", 0): {"scores": {"x": 1.0}},
            ("p", 1): {"scores": {"x": 3.0}},
            ("q", 0): {"scores": {"x": None}},
            ("r", 0): {"scores": {}},
            ("s", 0): {"scores": {"x": 6.0}},
        }
    }
    full, none = summarise_heads(table, ["x", "y"], resamples=200)
    assert [full[key] for key in ("n", "missing", "prompts", "mean", "std")] == [3, 2, 2, 4.0, 2.0]
    assert (full["low"], full["high"]) == (2.0, 6.0)
    assert [none[key] for key in ("n", "missing", "prompts", "mean", "low")] == [0, 5, 0, None, None]


def test_remote_code_is_refused_with_the_reason_and_mistakes_are_named(reward_model, gens, tmp_path, capsys):
    remote = tmp_path / "remote"
    shutil.copytree(reward_model, remote)
    config = json.loads((remote / "config.json").read_text())
    (remote / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling.Gated"}}))
    other = write_gens(tmp_path / "other", ("longer",), count=13)
    for argv, message in (
        (flags(remote, gens, tmp_path / "a"), r"the model brings Python code \('auto_map'\).*--trust_remote_code"),
        (
            flags(reward_model, gens, tmp_path / "a", "--heads", "helpsteer-verbositi"),
            "did you mean 'helpsteer-verbosity'",
        ),
        (flags(reward_model, [*gens, gens[0]], tmp_path / "a"), "the label 'sft' was given twice"),
        (flags(reward_model, [*gens, *other], tmp_path / "a"), "record 12 is .*validate-eval-set"),
    ):
        assert main(argv) == 2
        assert re.search(message, capsys.readouterr().err)
    # A mistake leaves nothing that a corrected command would stumble over.
    assert main(flags(reward_model, gens, tmp_path / "a", "--heads", "helpsteer-verbosity")) == 0
    assert list(rows(tmp_path / "a/sft.jsonl")[0]["scores"]) == ["helpsteer-verbosity"]


def test_all_shards_or_none(reward_model, tmp_path, capsys):
    (folder,) = write_gens(tmp_path / "gens", ("sft",))
    (tmp_path / "gens/sft" / shard_name(1, 2)).unlink()
    assert main(flags(reward_model, [folder], tmp_path / "out")) == 2
    assert "missing 00002-of-00002.jsonl" in capsys.readouterr().err
