"""The trainer of a trial in a process that never sees ms-swift: its ranking metrics, and its side of a rung."""

from types import SimpleNamespace

import pytest
import torch
import yaml
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerControl

from launch.tune.callback import RungCallback, evaluation_at
from launch.tune.ranking import picked_share
from launch.tune.rungs import GO, STOP, RungFiles
from launch.tune.trainer import RankingMODPOTrainer
from tests.tiny import build_adapter, build_model, preference_rows, write_rows
from tests.trl_modpo.conftest import trl_rows
from trl_ext.modpo.config import MODPOConfig

BREVITY = {"function": "brevity", "name": "short", "weight": 0.1}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    model = build_model(folder / "model")
    adapter = build_adapter(model, folder / "margin")
    rows = trl_rows(preference_rows(14, seed=3))
    data = load_dataset(
        "json", data_files=str(write_rows(folder / "pairs.jsonl", rows)), split="train", cache_dir=str(folder / "cache")
    )
    return SimpleNamespace(folder=folder, model=model, adapter=adapter, rows=rows, data=data)


@pytest.fixture(scope="module")
def evaluated(parts):
    """evaluated(beta, mult, role) -> (metrics, trainer): always the same policy, a LoRA of random weights."""

    def run(beta=0.1, mult=1.0, role="reward", **config):
        margins = [
            {"adapter": str(parts.adapter), "name": "m", "weight": 0.3, "beta": beta * mult, "role": role},
            BREVITY,
        ]
        settings = {
            "output_dir": str(parts.folder / "out"), "report_to": "none", "use_cpu": True, "bf16": False, "max_length": 96,
            "per_device_eval_batch_size": 7, "disable_tqdm": True, "gradient_checkpointing": False,
            "precompute_ref_log_probs": True, "w": 0.7, "margins": margins, "beta": beta,
        } | config  # fmt: skip
        lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        trainer = RankingMODPOTrainer(
            str(parts.model),
            args=MODPOConfig(**settings),
            train_dataset=parts.data,
            eval_dataset=parts.data,
            peft_config=lora,
        )
        torch.manual_seed(5)
        for name, parameter in trainer.model.named_parameters():
            if "lora_" in name and ".default." in name:
                torch.nn.init.normal_(parameter.data, std=0.2)
        trainer.evaluate()
        return trainer.state.log_history[-1], trainer

    return run


def log_ratios(parts, trainer):
    """[(chosen, rejected)] log pi - log pi_ref and log pi_margin - log pi_ref by plain transformers, one answer at a time."""
    from peft import PeftModel

    tokenizer = AutoTokenizer.from_pretrained(parts.model)
    base = AutoModelForCausalLM.from_pretrained(parts.model, dtype=torch.float32).eval()
    margin = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(parts.model, dtype=torch.float32), parts.adapter
    ).eval()
    policy = trainer.model.eval()

    @torch.no_grad()
    def logp(model, row, side):
        prompt = tokenizer.apply_chat_template(
            row["prompt"], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        whole = tokenizer.apply_chat_template(row["prompt"] + row[side], tokenize=True, return_dict=False)
        logits = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
        return sum(logits[position - 1, whole[position]].item() for position in range(len(prompt), len(whole)))

    sides = ("chosen", "rejected")
    moved = [[logp(policy, row, side) - logp(base, row, side) for side in sides] for row in parts.rows]
    margins = [[logp(margin, row, side) - logp(base, row, side) for side in sides] for row in parts.rows]
    return [[chosen - rejected for chosen, rejected in rows] for rows in (moved, margins)]


def test_metrics_against_plain_transformers(parts, evaluated):
    metrics, trainer = evaluated()
    d, g = log_ratios(parts, trainer)
    assert 0 < sum(gap > 0 for gap in d) < len(d)
    assert metrics["eval_ranking/preference"] == pytest.approx(sum(gap > 0 for gap in d) / len(d), abs=1e-9)
    assert metrics["eval_ranking/m"] == pytest.approx(picked_share(d, g), abs=1e-4)
    assert metrics["eval_ranking/m"] != metrics["eval_ranking/preference"]
    z = [(0.1 * x - 0.3 * 0.1 * y) / 0.7 for x, y in zip(d, g, strict=True)]
    short = 0.1 * metrics["eval_margin_rewards/short/gap"] / 0.7
    assert metrics["eval_rewards/margins"] == pytest.approx(sum(z) / len(z) - short, abs=1e-4)


def test_one_policy_under_several_betas_and_margin_scales(parts, evaluated):
    """What the reference maximises is multiplied by beta, and moved by the margin's scale; the ranking stays."""
    settings = [(0.1, 1.0), (0.5, 1.0), (0.1, 2.0)]
    found = {key: evaluated(*key)[0] for key in settings}
    for name in ("eval_ranking/preference", "eval_ranking/m", "eval_ranking/short"):
        assert len({found[key][name] for key in settings}) == 1, name
    z = {
        key: found[key]["eval_rewards/margins"] + 0.1 * found[key]["eval_margin_rewards/short/gap"] / 0.7
        for key in settings
    }
    assert z[0.5, 1.0] == pytest.approx(5 * z[0.1, 1.0], rel=1e-4)
    gap = found[0.1, 1.0]["eval_margin_rewards/m/gap"]
    assert abs(gap) > 0.01 and z[0.1, 2.0] - z[0.1, 1.0] == pytest.approx(-0.3 * gap / 0.7, rel=1e-4)


def test_a_cost_is_ranked_the_other_way(evaluated):
    reward, cost = (evaluated(role=role)[0] for role in ("reward", "cost"))
    assert reward["eval_ranking/m"] == pytest.approx(1 - cost["eval_ranking/m"])
    raw = evaluated(mult=-1.0)[0]  # a raw negative beta pushes like a cost
    assert raw["eval_ranking/m"] == pytest.approx(cost["eval_ranking/m"])


def test_settings_out_of_reach_are_refused(evaluated):
    with pytest.raises(ValueError, match="precompute_ref_log_probs must be true"):
        evaluated(precompute_ref_log_probs=False)
    with pytest.raises(ValueError, match="ld_alpha"):
        evaluated(ld_alpha=0.5)


# --- rungs ------------------------------------------------------------------------------------------------------------

HISTORY = [{"step": 3, "loss": 1.0}, {"step": 4, "eval_loss": 0.5}, {"step": 8, "eval_loss": 0.4}]


def state(step, history=HISTORY):
    return SimpleNamespace(global_step=step, log_history=history)


def test_a_rung_is_read_at_its_own_step():
    assert evaluation_at(HISTORY, 4)["eval_loss"] == 0.5
    with pytest.raises(ValueError, match=r"step 3 was not evaluated, only \[4, 8\] were"):
        evaluation_at(HISTORY, 3)


def test_answers_stop_or_let_go_and_are_not_asked_again(tmp_path):
    files, control = RungFiles(tmp_path / "rungs"), TrainerControl()
    callback = RungCallback([4, 8, 12], files)
    (tmp_path / "rungs").mkdir()
    files.answer(4, GO)
    callback.on_evaluate(None, state(4), control)
    assert files.reported(4) == HISTORY[1] and not control.should_training_stop
    files.answer(8, STOP)
    callback.on_evaluate(None, state(6), control)  # no rung
    assert callback.stopped_at is None and files.reported(8) is None
    callback.on_evaluate(None, state(8), control)
    assert control.should_training_stop and callback.stopped_at == 8


def test_a_continued_run_hands_in_what_its_checkpoint_remembers(tmp_path):
    files = RungFiles(tmp_path)
    files.answer(4, GO)
    RungCallback([4, 8, 12], files).on_train_begin(None, state(6), TrainerControl())
    assert files.reported(4) == HISTORY[1] and files.reported(8) is None
    with pytest.raises(ValueError, match="step 5 was not evaluated"):
        RungCallback([5, 12], files).on_train_begin(None, state(6), TrainerControl())


def test_every_rung_is_evaluated_and_saved_and_nothing_else_is_asked_for(tmp_path):
    callback = RungCallback([4, 12], RungFiles(tmp_path))
    asked = {}
    for step in (3, 4, 5, 12):
        callback.on_step_end(None, state(step), control := TrainerControl())
        asked[step] = (control.should_evaluate, control.should_save, control.should_training_stop)
    assert asked == {3: (False,) * 3, 4: (True, True, False), 5: (False,) * 3, 12: (True, True, False)}


def test_mistakes_end_with_one_line(parts, tmp_path, capsys):
    from launch.tune.train import main

    run = {"model_name_or_path": str(parts.model), "output_dir": str(tmp_path), "dataset_name": str(tmp_path / "none.jsonl"), "w": 0.5,
           "max_steps": 8, "use_cpu": True, "bf16": False, "report_to": "none"}  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    flags = ["--config", str(tmp_path / "run.yaml"), "--rung_folder", str(tmp_path / "r"), "--rung_steps"]
    with pytest.raises(SystemExit, match="2"):
        main([*flags, "4", "8"])
    assert capsys.readouterr().err == f"error: dataset_name: no file {tmp_path / 'none.jsonl'}\n"
    with pytest.raises(SystemExit, match="2"):
        main([*flags, "4"])
    assert "max_steps 8 must be the last of rung_steps [4]" in capsys.readouterr().err
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        write_rows(tmp_path / "data" / f"{split}.jsonl", parts.rows[:5] if split == "train" else parts.rows[3:])
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run | {"dataset_name": str(tmp_path / "data")}))
    with pytest.raises(SystemExit, match="2"):
        main([*flags, "4", "8"])
    assert "error: 2 training pairs are among those held out" in capsys.readouterr().err
