"""The claims at the scale of one GPU: nothing of them can be run here, but every command line is taken by its own parser,
every run file by the doctor, and hours follow from counted operations.
"""

import json
import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from launch.__main__ import main
from launch.common.operations import SHAPES, Rows, step_operations
from launch.pipelines.stages import Resumed
from launch.reproduce import hours
from launch.reproduce.claim import Place
from launch.reproduce.gpu import NAMES
from launch.reproduce.gpu.runs import RUNS
from launch.reproduce.reproduce import check, claim_of, environment
from launch.reproduce.result import make_result, table
from tests.documented import commands
from tests.launch.reproduce.test_claims_on_replies import cell, store
from tests.test_documented_commands import SCRIPTS, here, script, take
from trl_ext.objectives.bradley_terry import log_sigmoid, scaled_margin
from trl_ext.script import ScriptParser

assert here  # a fixture
SEEDS = (0, 1)
NO_VLLM = "vLLM is not installed"
ALL = pytest.mark.parametrize("name", NAMES)


def claim(name: str):
    return claim_of(name, "gpu")


def command_lines(stage):
    return [one.plain if isinstance(one, Resumed) else one for one in stage.commands]


def flag(argv: list[str], name: str) -> str | None:
    return argv[argv.index(name) + 1] if name in argv else None


def run_files(name: str, place: Place) -> list[tuple[str, list[str]]]:
    """(run file, all words of the command) of every training."""
    every = [command.argv for stage in claim(name).stages(place) for command in command_lines(stage)]
    found = [(next((word for word in argv if word.startswith(f"{RUNS}/")), None), argv) for argv in every]
    return [(file, argv) for file, argv in found if file]


PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}


def make_what_is_read_early(argv: list[str]) -> None:
    """Folders of models that earlier stages leave, and a file of pairs: what settings are checked against."""
    for place in filter(None, (flag(argv, "--discriminator"), flag(argv, "--model_path"))):
        if place != "null":
            Path(place).mkdir(parents=True, exist_ok=True)
    if pairs := flag(argv, "--discriminator_first_pairs"):
        Path(pairs).parent.mkdir(parents=True, exist_ok=True)
        Path(pairs).write_text(json.dumps(PAIR) + "\n")


def script_as_it_is(argv: list[str]) -> None:
    """`MODULE flags` by its own parser, gold and all: no model is loaded for it."""
    module = import_module(argv[0])
    ScriptParser(tuple(getattr(module, name) for name in SCRIPTS[argv[0]].split())).parse_args_and_config(
        [*argv[1:], "--use_cpu", "true"]
    )


@ALL
@pytest.mark.parametrize("rehearsal", [False, True], ids=["whole", "rehearsal"])
def test_every_command_is_taken_by_the_parser_of_its_program(name, rehearsal, tmp_path, here, capsys):
    pytest.importorskip("swift")
    for stage in claim(name).stages(Place(tmp_path, (0,), rehearsal)):
        for command in command_lines(stage):
            if command.argv[1:2] == ["-m"] and command.argv[2].split(".")[0] in ("trl_ext", "trl"):
                make_what_is_read_early(command.argv)
                if "--gold" in command.argv:
                    script_as_it_is(command.argv[2:])
                else:
                    # A margin's adapter has to be there before all of its settings can be read: names and values alone.
                    script(command.argv[1:], "--margin_adapter" in command.argv)
                continue
            if command.argv[1:2] == ["-m"] and command.argv[2].startswith("launch."):
                import_module(command.argv[2]).make_parser().parse_args(command.argv[3:])
                continue
            try:
                with here.context() as patch:
                    take(next(iter(commands("plan", [(1, command.printable())]))), patch)
            except SystemExit:
                pytest.fail(f"{command.printable()}\n{capsys.readouterr().err}")


@ALL
def test_every_seed_has_its_own_places_and_trainings_go_on_from_a_checkpoint(name, tmp_path):
    found = claim(name).stages(Place(tmp_path, SEEDS))
    written = [output for stage in found for output in stage.outputs]
    assert len({stage.name for stage in found}) == len(found) and len(set(written)) == len(written)
    for stage in found:
        seed = next((part[1:] for part in stage.name.split("_") if part[:1] == "s" and part[1:].isdecimal()), None)
        for command in command_lines(stage):
            others = [f"{tmp_path}/seed{other}/" for other in map(str, SEEDS) if other != seed]
            assert not any(place in word for word in command.argv for place in others), stage.name
            assert flag(command.argv, "--seed") in (seed, None)
        if any(isinstance(one, Resumed) for one in stage.commands):
            assert stage.resumable and all(place.is_relative_to(stage.outputs[0]) for place in stage.results)


@ALL
def test_hours_are_those_of_the_stages_that_need_the_gpu(name, tmp_path):
    two = Place(tmp_path, SEEDS)
    estimated = claim(name).hours(two)
    assert set(estimated) <= {stage.name for stage in claim(name).stages(two)}
    trainings = {stage.name for stage in claim(name).stages(two) if any(isinstance(c, Resumed) for c in stage.commands)}
    assert trainings <= set(estimated) and all(0.05 < value < 24 for value in estimated.values())
    assert sum(estimated.values()) < 24 * 7 and max(claim(name).hours(Place(tmp_path, (0,), True)).values()) < 0.75


@ALL
def test_its_page_says_how_many_hours_five_seeds_take(name, tmp_path):
    (page,) = [
        text
        for path in (RUNS.parents[1] / "docs").glob("*.md")
        if f"<!-- claim: {name}-gpu -->\n" in (text := path.read_text("utf-8"))
    ]
    before = page.partition(f"<!-- claim: {name}-gpu -->")[0].rpartition("\n## ")[2]
    said = re.search(r"About\s+(\d+)\s+hours", before)
    assert int(said[1]) == round(sum(claim(name).hours(Place(tmp_path, tuple(range(5)))).values()))


@ALL
def test_batches_of_grpo_hold_whole_pairs_and_make_one_update_a_generation(name, tmp_path):
    for file, argv in run_files(name, Place(tmp_path, (0,))):
        run = yaml.safe_load(Path(file).read_text("utf-8"))
        if run.get("rlhf_type") != "grpo":
            continue
        sizes = {
            key: int(flag(argv, f"--{key}") or run[key])
            for key in (
                "generation_batch_size",
                "num_generations",
                "per_device_train_batch_size",
                "gradient_accumulation_steps",
            )
        }
        micro = sizes["per_device_train_batch_size"]
        assert sizes["generation_batch_size"] % (2 * sizes["num_generations"]) == 0
        assert sizes["generation_batch_size"] == micro * sizes["gradient_accumulation_steps"]


def test_the_doctor_finds_nothing_in_the_run_files_but_what_is_not_here_yet(tmp_path, monkeypatch, capsys):
    pytest.importorskip("swift")
    monkeypatch.chdir(RUNS.parents[1])
    files = sorted({file for name in NAMES for file, _ in run_files(name, Place(tmp_path, (0,)))})
    for file in files:
        out = tmp_path / "doctor.json"
        main(["doctor", file, "--json", str(out)])
        findings = json.loads(out.read_text())["findings"]
        errors = [one["found"] for one in findings if one["level"] == "error"]
        # An earlier stage of the queue makes the discriminator.
        assert all(NO_VLLM in found or "runs/rm_merged" in found for found in errors), f"{file}: {errors}"
    assert files


def test_the_plan_says_hours_and_that_they_are_estimates(tmp_path, capsys):
    assert main(["reproduce", "judge-consistency", "--scale", "gpu", "--out", str(tmp_path / "j"), "--plan"]) == 0
    text = capsys.readouterr().out
    assert "seed 4: plain (estimated: 1.9 hours)" in text and "estimated, never measured: " in text
    assert "swift rlhf" in text and not (tmp_path / "j").exists()


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (
            ["eval-agrees", "--scale", "gpu", "--out", "x"],
            "eval-agrees has no runs for it; those that have: bt-judgement, d2po-labels, judge-c",
        ),
        (["judge-consistency", "--scale", "gpu", "--out", "x", "--processes", "2"], "with --scale gpu 1 is valid"),
    ],
)
def test_what_a_gpu_cannot_do_is_refused(flags, text, capsys):
    assert main(["reproduce", *flags]) == 2
    assert text in capsys.readouterr().err


def test_a_run_has_the_first_gpu_that_is_visible_and_the_hub(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert environment("gpu")["CUDA_VISIBLE_DEVICES"] == "0" and environment()["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    found = environment("gpu")
    assert found["CUDA_VISIBLE_DEVICES"] == "3" and not {"OMP_NUM_THREADS", "HF_HUB_OFFLINE"} & set(found)


def test_a_result_of_a_gpu_is_kept_apart(tmp_path, capsys):
    assert check(["judge-consistency"], tmp_path, "gpu") == 1
    said = capsys.readouterr().out
    assert "judge-consistency-gpu: no result" in said and "judge-consistency --scale gpu --out DIR" in said
    assert all(claim(name).name == f"{name}-gpu" and claim(name).scale == "gpu" for name in NAMES)


def test_the_table_of_pushes_is_what_the_reward_gives():
    """docs/bt_grpo.md: the slope of log sigma(clip(d / T)) in percent of that at a tie."""
    page = (RUNS.parents[1] / "docs" / "bt_grpo.md").read_text("utf-8")
    found = re.findall(r"^\| T = (\d+), (hard|soft|no) clip ?([\d.]*) \(.*?\) \| (.*) \|$", page, re.MULTILINE)
    assert len(found) == 5
    for temperature, kind, bound, cells in found:

        def reward(margin, temperature=float(temperature), bound=float(bound or 0), soft=kind == "soft"):
            return log_sigmoid(scaled_margin(margin, temperature, 0.0, bound, soft=soft))

        def slope(margin, reward=reward):
            return (reward(margin + 1e-4) - reward(margin - 1e-4)) / 2e-4

        for margin, said in zip((-30, -10, -5, 10, 30), cells.split(" | "), strict=True):
            assert 100 * slope(margin) / slope(1e-3) == pytest.approx(float(said), abs=0.5 if float(said) > 5 else 0.05)


@pytest.mark.parametrize(("loss", "holds"), [(0.5, True), (0.75, False)])
def test_a_scorer_on_a_gpu_is_compared_with_the_untouched_model(loss, holds, tmp_path):
    place = Place(tmp_path, SEEDS)
    bt = claim("bt-judgement")
    for seed in SEEDS:
        start = {"strict_accuracy_of_all": 0.5, "bt_loss": 0.6875, "sample_parse_rate": 1.0}
        store(place.of(seed, "scored/untouched"), start, [20, -10])
        for arm in import_module("launch.reproduce.gpu.bt_judgement").ARMS:
            end = {**start, "strict_accuracy_of_all": 0.75 + seed / 1024, "bt_loss": loss + seed / 1024}
            store(place.of(seed, f"scored/{arm}"), end, [20, -10] if arm == "batch" else [60, -30])
    found = bt.measure(place)
    assert found.holds is holds and found.estimate.value == pytest.approx(0.25 + 1 / 2048, abs=1e-12)
    assert found.arms["authors"].curves[0] == [(0, 0.5), (300, 0.75)]
    worse = next(one for phrase, one in found.others.items() if phrase == "miscalibration (nats), group minus batch")
    assert worse.value > 0.05  # the same scores, three times as far apart


def scored(file: Path, **values: list[float]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    file.write_text(
        "".join(
            json.dumps({"prompt_id": str(place), "sample": 0, "scores": row}) + "\n" for place, row in enumerate(rows)
        )
    )


def test_a_front_on_a_gpu_is_counted_in_spreads_of_the_untouched_models_answers(tmp_path):
    place = Place(tmp_path, SEEDS)
    front = claim("modpo-front")
    for seed in SEEDS:
        folder = place.of(seed, "answers") / "scores"
        scored(folder / "untouched.jsonl", helpful=[0.0, 2.0], harmless=[10.0, 30.0])  # spreads 1.41 and 14.1
        for w in (0.2, 0.5, 0.8):
            scored(folder / f"modpo{w:g}.jsonl", helpful=[1 + w, 1 + w], harmless=[30 - 10 * w + seed, 30 - 10 * w])
            scored(folder / f"soup{w:g}.jsonl", helpful=[1.5, 1.5], harmless=[25.0, 25.0])
            for arm, nats in (("modpo", 3.0), ("soup", 5.0)):
                scored(place.of(seed, "divergence") / f"{arm}{w:g}" / f"{arm}{w:g}.jsonl", kl=[nats, nats + 1])
    found = front.measure(place)
    # At w: w x w / 1.41 for help, (1 - w)(10 - 10 w + seed / 2) / 14.1 for harmlessness.
    worth = [
        sum(w * w + (1 - w) * (10 - 10 * w + seed / 2) / 10 for w in (0.2, 0.5, 0.8)) / 3 / 2**0.5 for seed in SEEDS
    ]
    assert found.estimate.value == pytest.approx(sum(worth) / 2, abs=1e-12) and found.holds
    assert set(found.arms["untouched"].means().values()) == {0.0}
    kl = [one.value for phrase, one in found.others.items() if phrase.startswith("KL")]
    assert kl == [3.5, 5.5]
    less = next(
        one for phrase, one in found.others.items() if phrase == "MODPO, from w = 0.2 to 0.5: less harmless (spreads)"
    )
    assert less.value == pytest.approx(3 / 200**0.5, abs=1e-12)
    scored(place.of(0, "answers") / "scores" / "soup0.2.jsonl", helpful=[None, 1.0], harmless=[1.0, 1.0])
    with pytest.raises(ValueError, match="1 of 2 answers have no score 'helpful'"):
        front.measure(place)


def test_a_judge_on_a_gpu_is_compared_with_the_untouched_model(tmp_path):
    """And a step that was logged twice, as a run that goes on from a checkpoint does, counts once."""
    place = Place(tmp_path, SEEDS, rehearsal=True)
    for seed in SEEDS:
        for arm, accuracy in {
            "untouched": 0.5,
            "plain": 0.75 + seed / 64,
            "plain_group": 0.75,
            "consistency": 0.75,
        }.items():
            metrics = {"accuracy": accuracy, "swap_consistency": accuracy, "position_bias": 0.25}
            folder = place.of(seed, f"judged/{arm}")
            folder.mkdir(parents=True)
            (folder / "result.json").write_text(json.dumps({"metrics": {k: cell(v) for k, v in metrics.items()}}))
            rows = [
                {
                    "judge/accuracy": step / 8,
                    "judge/consistency": 1,
                    "judge/first": 0.5,
                    "global_step/max_steps": f"{step}/4",
                }
                for step in (1, 2, 3, 2, 3, 4)
            ]
            place.of(seed, arm).mkdir(exist_ok=True)
            (place.of(seed, arm) / "logging.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge = claim("judge-consistency")
    found = judge.measure(place)
    assert found.estimate.value == pytest.approx(0.25 + 1 / 128, abs=1e-12)
    assert found.arms["plain"].curves[1] == [(0, 0.5), (1.5, 1.5 / 8), (3.5, 3.5 / 8), (4, 0.75 + 1 / 64)]
    costs = {f"plain_s{seed}": {"cpu_seconds": 9.0, "seconds": 60.0, "began": 60.0 * seed} for seed in SEEDS}
    result = make_result(judge, place, found, costs, "the command")
    assert result["arms"]["plain"]["gpu_seconds"] == 120 and "| GPU seconds a seed |" in table(result)


def test_hours_by_hand():
    """A step of 96 answers of 300 tokens to prompts of 1,500 by a 7B model: four forward-sized passes, one of them back."""
    rows = Rows.of(24, 4, 1500, 300, shared=False)
    forward = 2 * 96 * (1800 * (SHAPES["7B"]["num_hidden_layers"] * 233_046_016) + 300 * 3584 * 152_064)
    attention = 4 * 96 * 28 * 1800**2 * 3584
    seconds = (4 * forward + 5 * attention) / (0.4 * 989e12)
    assert hours.trained(SHAPES["7B"], 10, rows, references=1) == pytest.approx(10 * seconds / 3600, rel=1e-12)
    assert step_operations(SHAPES["7B"], rows, True, 2) == pytest.approx(4 * forward + 5 * attention, rel=1e-12)
    # One answer at a time: 15.2 GB of weights take 4.5 ms, less than Python needs to start a token's kernels.
    by_vllm, by_hand = (hours.drawn(SHAPES["7B"], 1, 1, 100, 100, vllm) * 36 for vllm in (True, False))
    assert by_vllm == pytest.approx(2 * 7_615_283_200 / 3.35e12, rel=2e-3) and by_hand == pytest.approx(
        hours.SLOWEST_TOKEN
    )
    assert hours.in_words(1.94) == "estimated: 1.9 hours" and hours.in_words(0.321) == "estimated: 19 minutes"
