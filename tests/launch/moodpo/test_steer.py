"""What the policy is asked is what training asked; the answers are those of the model; mistakes exit with 2."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launch.__main__ import main as launch
from launch.moodpo.steered import SteeredForm, asking, load_form, load_policy, objectives_of, read_settings
from tests.launch.moodpo.conftest import NAMES, mark
from tests.tiny import build_adapter
from trl_ext.moodpo.instruction import annotate, parse

REPOSITORY = Path(__file__).resolve().parents[3]
TEXT = "Tell me how to plant a tree."


def steer(base, adapter, *more):
    return launch(["steer", "--model", str(base), "--adapter", str(adapter), "--max_new_tokens", "12", *more])


def generate(base, adapter, messages, count=12):
    """Greedy tokens the long way, one prompt alone and without padding."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    text = (
        messages
        if isinstance(messages, str)
        else tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + count:
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                break
    return tokenizer.decode(ids[start:], skip_special_tokens=True)


def test_the_answer_is_that_of_the_adapter_to_the_annotated_prompt(base, steered, capsys):
    assert steer(base, steered, "--weights", "brevity=0.7,rich_vocabulary=0.3", TEXT) == 0
    asked = annotate([{"role": "user", "content": TEXT}], NAMES, (0.7, 0.3), system_role=True)
    assert capsys.readouterr().out == generate(base, steered, asked) + "\n"


def test_several_weights_give_several_answers_in_their_order(base, steered, capsys):
    flags = ["--weights", "rich_vocabulary=1", "--weights", "brevity=1"]
    assert steer(base, steered, *flags, TEXT) == 0
    answers = [
        generate(base, steered, annotate([{"role": "user", "content": TEXT}], NAMES, vector, system_role=True))
        for vector in ((0, 1), (1, 0))
    ]
    assert answers[0] != answers[1]
    first, second = "--- brevity=0,rich_vocabulary=1", "--- brevity=1,rich_vocabulary=0"
    assert capsys.readouterr().out == f"{first}\n{answers[0]}\n{second}\n{answers[1]}\n"


def test_draws_depend_on_the_seed(base, steered, capsys):
    outputs = []
    for seed in ("1", "1", "2"):
        assert steer(base, steered, "--weights", "brevity=1", "--temperature", "1.5", "--seed", seed, TEXT) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]
    assert steer(base, steered, "--weights", "brevity=1", TEXT) == 0
    greedy = capsys.readouterr().out
    assert steer(base, steered, "--weights", "brevity=1", "--temperature", "1e-4", TEXT) == 0
    assert capsys.readouterr().out == greedy != outputs[0]


def test_the_printed_prompt_is_what_the_policy_reads(base, steered, capsys):
    """Given to any other client, the printed messages end up as the tokens of the policy."""
    assert (
        steer(
            base,
            steered,
            "--print_prompt",
            "--weights",
            "brevity=0.7,rich_vocabulary=0.3",
            "--weights",
            "brevity=1",
            TEXT,
        )
        == 0
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(line) for line in lines] == [["messages"], ["messages"]]
    sentences = [line["messages"][0]["content"] for line in lines]
    assert [parse(text) for text in sentences] == [
        {"brevity": 0.7, "rich_vocabulary": 0.3}, {"brevity": 1.0, "rich_vocabulary": 0.0},
    ]  # fmt: skip
    policy = asking(load_policy(str(base), str(steered)), NAMES, (0.7, 0.3))
    template = policy.tokenizer.apply_chat_template
    text = template(lines[0]["messages"], tokenize=False, add_generation_prompt=True)
    assert (
        policy.encode_prompt([{"role": "user", "content": TEXT}])
        == policy.tokenizer(text, add_special_tokens=False)["input_ids"]
    )


def test_no_weights_are_read_to_print_a_prompt(base, steered, tmp_path):
    light = shutil.copytree(base, tmp_path / "light", ignore=shutil.ignore_patterns("*.safetensors"))
    assert steer(light, steered, "--print_prompt", "--weights", "brevity=1", TEXT) == 0


def test_prompts_have_the_form_of_training(base):
    """Transcripts and models without a template are asked as text; posts are put into the words of the summary task."""
    form = load_form(str(base))
    with_words = form.asked([{"role": "user", "content": "\n\nHuman: Why?\n\nAssistant:"}], NAMES, (1, 0))
    assert with_words.startswith("[Begin System Instruction]\nBalance your answer as follows: 100% brevity")
    assert with_words.endswith("\n\nHuman: Why?\n\nAssistant:")
    post = SteeredForm(form.tokenizer, "summary").plain([{"role": "user", "content": "My dog ate it."}])
    assert "one-sentence summary" in post[0]["content"] and "### Input: My dog ate it." in post[0]["content"]
    bare = load_form(str(base)).tokenizer
    bare.chat_template = None
    assert SteeredForm(bare).plain([{"role": "user", "content": " Why? "}]) == "Why?"
    assert SteeredForm(bare).asked([{"role": "user", "content": "Why?"}], NAMES, (1, 0)).endswith("]\nWhy?")
    conversation = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    assert form.plain(conversation) == conversation
    with pytest.raises(ValueError, match="no chat template: only single prompts"):
        SteeredForm(bare).plain(conversation)


def test_a_text_prompt_is_printed_as_text(base, steered, capsys):
    assert steer(base, steered, "--print_prompt", "--weights", "brevity=1", "\n\nHuman: Why?\n\nAssistant:") == 0
    assert list(json.loads(capsys.readouterr().out)) == ["prompt"]


def test_the_tokenizer_of_the_adapter_comes_first(base, steered, tmp_path):
    own = shutil.copytree(steered, tmp_path / "own")
    tokenizer = load_form(str(base)).tokenizer
    tokenizer.chat_template = "{{ messages[0]['content'] }}!"
    tokenizer.save_pretrained(own)
    assert load_form(str(base), str(own)).tokenizer.chat_template == "{{ messages[0]['content'] }}!"
    assert load_form(str(base), str(steered)).tokenizer.chat_template != tokenizer.chat_template


def test_every_end_token_ends_an_answer(base, tmp_path):
    more = shutil.copytree(base, tmp_path / "more")
    settings = json.loads((more / "generation_config.json").read_text())
    (more / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": [2, 77]}))
    policy = load_policy(str(more), None)
    assert policy.stop_ids == [2, 77] and policy.pad_id == 0 and policy.max_length == 256


def test_objectives_come_from_the_checkpoint_or_the_newest_one_of_a_run(steered, plain_adapters, tmp_path):
    assert objectives_of(str(steered), None) == NAMES
    assert read_settings(plain_adapters[0]) is None
    assert objectives_of(str(plain_adapters[0]), ["b", "a"]) == ("b", "a")
    for step, names in ((90, ["old", "older"]), (100, ["new", "newer"])):
        (tmp_path / f"checkpoint-{step}").mkdir()
        mark(tmp_path / f"checkpoint-{step}", names)
    (tmp_path / "checkpoint-best").mkdir()
    assert objectives_of(str(tmp_path), None) == ("new", "newer")


def test_the_base_alone_can_be_asked_with_weights(base, capsys):
    flags = ["--objectives", "a", "b", "--print_prompt", "--weights", "a=1", TEXT]
    assert launch(["steer", "--model", str(base), *flags]) == 0
    assert "100% a, 0% b" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        (["--weights", "brevty=1"], "did you mean 'brevity'"),
        (["--weights", "brevity=7,rich_vocabulary=3"], "brevity=0.7,rich_vocabulary=0.3"),
        (["--weights", "brevity=1", "--temperature", "-1"], "--temperature is -1"),
        (
            ["--weights", "brevity=1", "--objectives", "rich_vocabulary", "brevity"],
            "was trained with ['brevity', 'rich_vocabulary']",
        ),
        (["--weights", "brevity=1", "--adapter", "no/such"], "no/such: no moodpo_state.json; name the objectives"),
        (
            ["--weights", "brevity=1", "--adapter", "no/such", "--objectives", "brevity"],
            "no/such: no adapter_config.json",
        ),
    ],
)
def test_mistakes_exit_with_2(base, steered, capsys, more, hint):
    assert steer(base, steered, *more, "--seed", "0", TEXT) == 2
    assert hint in capsys.readouterr().err


def test_an_empty_prompt_and_a_damaged_state_file_are_refused(base, steered, tmp_path, capsys):
    assert steer(base, steered, "--weights", "brevity=1", " ") == 2
    assert "the prompt is empty" in capsys.readouterr().err
    damaged = shutil.copytree(steered, tmp_path / "damaged")
    (damaged / "moodpo_state.json").write_text('{"settings": {}}')
    assert steer(base, damaged, "--weights", "brevity=1", TEXT) == 2
    assert "moodpo_state.json: expected 'settings' with the names of 'objectives'" in capsys.readouterr().err


def test_a_model_with_its_own_code_is_refused(base, tmp_path, capsys):
    own = shutil.copytree(base, tmp_path / "own")
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(config | {"auto_map": {}}))
    assert launch(["steer", "--model", str(own), "--objectives", "a", "--weights", "a=1", TEXT]) == 2
    assert "the model brings Python code" in capsys.readouterr().err


def test_an_adapter_that_does_not_fit_is_refused(base, tmp_path, capsys):
    bad = build_adapter(base, tmp_path / "bad")
    config = json.loads((bad / "adapter_config.json").read_text())
    (bad / "adapter_config.json").write_text(json.dumps(config | {"r": 8}))
    assert steer(base, mark(bad), "--weights", "brevity=1", TEXT) == 2
    assert "does not fit the base model" in capsys.readouterr().err


@pytest.mark.integration
def test_a_checkpoint_of_the_real_trainer_names_its_objectives(base, tmp_path, capsys):
    """One step of `trl_ext.moodpo.script`, in a process of its own; the checkpoint and the run's folder can be asked."""
    data = tmp_path / "prompts.csv"
    data.write_text("prompt\n" + "".join(f"Tell me how to plant tree number {i} in a garden.\n" for i in range(4)))
    flags = {
        "sft_model_path": base, "csv_path": data, "output_dir": tmp_path / "run", "max_steps": 1, "save_steps": 1,
        "per_device_train_batch_size": 2, "max_new_tokens": 6, "max_length": 200, "max_prompt_tokens": 100, "bf16": False,
        "use_cpu": True, "lora_rank": 4, "disable_wandb": True, "report_to": "none", "gradient_checkpointing": False,
    }  # fmt: skip
    argv = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "trl_ext.moodpo.script", *argv, "--reward_models", "rich_vocabulary", "brevity"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    for folder in (tmp_path / "run" / "checkpoint-1", tmp_path / "run"):
        assert objectives_of(str(folder), None) == ("rich_vocabulary", "brevity")
        assert steer(base, folder, "--weights", "brevity=1", TEXT) == 0
    assert capsys.readouterr().out.count("\n") >= 2
