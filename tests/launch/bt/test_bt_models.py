"""Local models: which weights answer, in whose words they are asked, and that only the answer is read."""

import json

import pytest

from launch.__main__ import main as launch

FLAGS = ["--dataset", "anthropic_hh", "--limit", "2", "--max_new_tokens", "8", "--batch_size", "2"]


@pytest.fixture
def evaluate(run_dir, hh_file, tmp_path):
    """evaluate(name, *flags) -> (exit code, answers by prompt, result)."""

    def run(name, *flags):
        out = tmp_path / name
        code = launch(["eval-bt", *FLAGS, "--source", str(hh_file), *flags, "--out", str(out)])
        if code:
            return code, None, None
        rows = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
        return code, {row["prompt_id"]: row["response"] for row in rows}, json.loads((out / "result.json").read_text())

    return run


def test_an_adapter_and_its_merged_weights_answer_alike_and_the_start_does_not(run_dir, evaluate):
    run = ["--run_dir", str(run_dir)]
    _, adapter, first = evaluate("adapter", *run, "--checkpoint", "checkpoint-10")
    _, merged, second = evaluate("merged", *run, "--checkpoint", "checkpoint-200")
    _, start, third = evaluate("start", *run, "--checkpoint", "checkpoint-0")
    assert adapter == merged != start
    assert len(adapter) == 4
    assert [one["label"] for one in (first, second, third)] == ["checkpoint-10", "checkpoint-200", "checkpoint-0"]
    for one in (first, second, third):
        assert {name: one["settings"][name] for name in ("model_type", "template", "system", "dtype")} == {
            "model_type": "llama", "template": "chatml", "system": "You judge", "dtype": "float32"
        }  # fmt: skip
    assert first["settings"]["adapter"].endswith("checkpoint-10") and second["settings"]["adapter"] is None
    # The folder above the runs means the newest of them, and a model of its own needs no run.
    _, outer, _ = evaluate("outer", "--run_dir", str(run_dir.parent), "--checkpoint", "checkpoint-10")
    _, alone, _ = evaluate("alone", "--model", str(run_dir.parents[1] / "base"), "--model_type", "llama", "--template",
                           "chatml", "--system", "You judge", "--torch_dtype", "float32")  # fmt: skip
    assert outer == adapter and alone == start


def test_the_prompt_is_written_as_in_training(run_dir, evaluate):
    run = ["--run_dir", str(run_dir), "--checkpoint", "checkpoint-10"]
    _, as_trained, _ = evaluate("plain", *run)
    _, other_system, _ = evaluate("system", *run, "--system", "Be quick.")
    _, untemplated, result = evaluate("untemplated", *run, "--no_chat_template")
    assert as_trained != other_system and as_trained != untemplated
    assert (result["settings"]["use_chat_template"], result["settings"]["system"]) == (False, None)
    assert evaluate("both", *run, "--no_chat_template", "--system", "Be quick.")[0] == 2


def test_a_missing_checkpoint_is_an_error(run_dir, evaluate, tmp_path, capsys):
    assert evaluate("missing", "--run_dir", str(run_dir), "--checkpoint", "checkpoint-20")[0] == 2
    error = capsys.readouterr().err
    assert "--checkpoint checkpoint-20: not in" in error and "checkpoint-0, checkpoint-10, checkpoint-200" in error
    assert not (tmp_path / "missing").exists()


def test_results_lie_beside_the_checkpoint_unless_told_otherwise(run_dir, hh_file):
    argv = ["eval-bt", *FLAGS, "--source", str(hh_file), "--run_dir", str(run_dir), "--checkpoint", "checkpoint-10"]
    assert launch([*argv, "--seed", "3"]) == 0
    assert (run_dir / "eval_bt" / "checkpoint-10_anthropic_hh_test_seed3" / "result.json").is_file()


def test_sampling_with_one_seed_is_repeatable(run_dir, evaluate):
    run = ["--run_dir", str(run_dir), "--checkpoint", "checkpoint-10", "--do_sample"]
    assert evaluate("one", *run)[1] == evaluate("again", *run)[1]
    greedy = evaluate("greedy", *run[:-1])[1]
    assert evaluate("first", *run)[1] != greedy
    # One token to choose from is no choice.
    assert evaluate("narrow", *run, "--top_k", "1")[1] == greedy


class Parrot:
    """Generates nothing but the end: what is left of its output is what was put in."""

    def __init__(self, model, end):
        self.device, self.end, self.widths = model.device, end, []

    def generate(self, input_ids, attention_mask, **options):
        import torch

        self.widths.append([int(row.sum()) for row in attention_mask])
        return torch.cat([input_ids, torch.full((len(input_ids), 1), self.end)], dim=1)


def test_no_text_of_a_prompt_reaches_a_score(run_dir):
    """Prompts of one batch differ in length and end in a score tag; padded on the left, it must not count as an answer."""
    from datasets_builders.scoring.parsers import PARSERS
    from launch.answers.backends import Decoding, Item, TransformersBackend
    from launch.answers.policy import Policy
    from launch.answers.prompts import Prompt

    policy = Policy(str(run_dir.parents[1] / "base"), model_type="llama", template_type="chatml", torch_dtype="float32")
    texts = [
        "<s>77</s>",
        "A much longer prompt, so that the first is padded. " * 4 + "Score: <s>3</s>",
        "Rate: <s>4.5</s>",
    ]
    items = [Item(Prompt(str(k), [{"role": "user", "content": text}]), 0) for k, text in enumerate(texts)]
    for item, text in zip(items, texts, strict=True):
        # The tag does reach the model, or the rest would show nothing.
        assert text in policy.tokenizer.decode(policy.encode_prompt(item.prompt.messages))
    policy.model = Parrot(policy.model, policy.stop_ids[0])
    answers = TransformersBackend(policy, Decoding(max_new_tokens=4)).generate(items)
    assert len(set(policy.model.widths[0])) == 3
    assert [answer.response for answer in answers] == ["", "", ""]
    assert all(parser(answer.response) is None for answer in answers for parser in PARSERS.values())


def test_the_sampler_cuts_to_the_top_k_after_the_temperature():
    import torch

    from launch.answers.sampling import RowwiseSampler

    logits = torch.log(torch.tensor([[0.4, 0.3, 0.2, 0.1]]))
    sampler = RowwiseSampler([4], torch.device("cpu"), temperature=0.5, top_k=2)
    picks = torch.tensor([int(sampler(None, logits).argmax()) for _ in range(4000)])
    shares = torch.bincount(picks, minlength=4) / 4000
    torch.testing.assert_close(shares, torch.tensor([16 / 25, 9 / 25, 0, 0]), rtol=0, atol=0.03)
