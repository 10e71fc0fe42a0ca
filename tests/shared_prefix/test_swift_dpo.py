"""`swift rlhf --rlhf_type dpo` with shared prefixes is the run without, to rounding: stock trainers and MODPO, 20 real steps."""

import json
import os
from types import SimpleNamespace

import pytest

from tests.conftest import REPOSITORY, swift_flags
from tests.parity.rows import multi_turn
from tests.tiny import preference_rows, write_rows

pytest.importorskip("swift")
pytestmark = pytest.mark.integration

SERIES = ("loss", "grad_norm", "rewards/chosen", "rewards/margins", "logps/chosen", "logps/rejected", "logits/chosen")
IN_ORDER = {"dataset_shuffle": False, "train_dataloader_shuffle": False}
SAID = "shared prefixes: the first batch computes"
KINDS = {
    "lora": {},
    "ipo, all weights": {"loss_type": "ipo", "tuner_type": "full", "learning_rate": 1e-4},
    "checkpointing, accumulation, evaluation": {
        "gradient_checkpointing": True, "gradient_accumulation_steps": 2, "val_dataset": "@data", "eval_strategy": "steps",
        "eval_steps": 10, "per_device_eval_batch_size": 4,
    },
}  # fmt: skip


def rows() -> list[dict]:
    """40 pairs whose prompts are of one to three turns: some batches share half of their tokens, some nearly none."""
    mixed = preference_rows(16, seed=11) + multi_turn() + multi_turn()
    return [mixed[index * 7 % 40] for index in range(40)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("sharing") / "pairs.jsonl", rows())


@pytest.fixture(scope="module")
def train(tiny, data, run_swift, tmp_path_factory):
    """train(environment, plugin, **flags): 20 steps of two pairs, in the order of the file."""
    folder = tmp_path_factory.mktemp("runs")
    count = iter(range(1000))

    def run(environment, plugin="modpo", processes=1, succeed=True, **flags):
        run_folder = folder / str(next(count))
        options = IN_ORDER | {"max_steps": 20, "max_length": 160, "dataset": data} | flags
        options = {name: data if value == "@data" else value for name, value in options.items()}
        argv = swift_flags(tiny, data, run_folder, **options)
        done = run_swift(run_folder, argv, environment, plugin, processes)
        assert (done.returncode == 0) == succeed, done.output[-3000:]
        return done

    return run


def same(one, other, series=SERIES):
    """Every number of every step and evaluation within 1e-5."""
    assert len(one.steps) == len(other.steps) and len(one.evaluations) == len(other.evaluations)
    for found, expected in zip(one.steps + one.evaluations, other.steps + other.evaluations, strict=True):
        assert found.keys() == expected.keys()
        for name in series:
            name = f"eval_{name}" if "eval_loss" in expected else name
            if name in expected:
                assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-5), name


# --- stock DPO, by the plugin for it and by MODPO at w = 1 ------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "plugin", "environment"),
    [
        ("lora", "shared_prefix", {"SHARED_PREFIX": "on"}),
        ("checkpointing, accumulation, evaluation", "shared_prefix", {}),
        ("ipo, all weights", "modpo", {"MODPO_W": 1, "MODPO_SHARED_PREFIX": "on"}),
    ],
)
def test_twenty_steps_are_those_of_stock_dpo(train, kind, plugin, environment):
    stock, run = train({}, plugin=False, **KINDS[kind]), train(environment, plugin, **KINDS[kind])
    same(run, stock)
    assert SAID in run.output and SAID not in stock.output
    assert {len(run.steps), len(run.evaluations)} <= {20, 2, 0}


# --- a live margin ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def margin(adapter):
    return {"MODPO_W": 0.5, "MODPO_MARGIN_ADAPTER": str(adapter)}


@pytest.fixture(scope="module")
def plain(train, margin):
    return train(margin | {"MODPO_SHARED_PREFIX": "off"})


@pytest.fixture(scope="module")
def shared(train, margin):
    return train(margin | {"MODPO_SHARED_PREFIX": "on"}, save_strategy="steps", save_steps=10)


MARGIN_SERIES = (*SERIES, "margin_rewards/margin/chosen", "margin_rewards/margin/gap")


def test_policy_reference_and_margin_of_a_run_share(plain, shared, train, margin):
    """`auto` leaves some batches plain and shares in others."""
    same(shared, plain, MARGIN_SERIES)
    assert SAID in shared.output and SAID not in plain.output
    same(train(margin), plain, MARGIN_SERIES)


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(train, shared, margin):
    resumed = train(margin | {"MODPO_SHARED_PREFIX": "on"}, resume_from_checkpoint=shared.folder / "checkpoint-10")
    for name in MARGIN_SERIES:
        assert resumed.series(name) == shared.series(name)[10:], name


def test_two_ranks_train_as_one(train, shared, margin):
    """One pair a rank. DeepSpeed's stages 2 and 3 are in tests/swift_ext/test_modpo_training.py."""
    run = train(margin | {"MODPO_SHARED_PREFIX": "on"}, processes=2, per_device_train_batch_size=1, max_steps=3)
    assert SAID in run.output
    for name in ("loss", "margin_rewards/margin/chosen", "margin_rewards/margin/gap"):
        assert run.series(name) == pytest.approx(shared.series(name)[:3], rel=1e-5, abs=1e-5), name


# --- a store ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def precompute(tiny, data, warm_swift, margin, tmp_path_factory):
    """precompute(name, word or None): the store's folder and the run's output."""
    folder = tmp_path_factory.mktemp("stores")

    def run(name, word=None, rows_of=data):
        store, log = folder / name, folder / f"{name}.log"
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        env |= {"MODPO_MARGIN_ADAPTER": margin["MODPO_MARGIN_ADAPTER"]}
        env |= {"MODPO_SHARED_PREFIX": word} if word else {}
        argv = ["precompute-margins", "--store", str(store)]
        argv += swift_flags(tiny, rows_of, store, max_length=160, **IN_ORDER)
        assert warm_swift.start("launch", argv, env, folder, log).wait(300) == 0, log.read_text()[-3000:]
        return store, log.read_text()

    return run


def test_a_run_follows_the_path_that_scored_its_store(precompute, train, shared, margin):
    store, said = precompute("on", "on")
    assert SAID in said and json.loads((store / "manifest.json").read_text())["shared_prefix"] == "on"
    stored = {"dataset": store / "train.jsonl", "remove_unused_columns": False}
    run = train(margin | {"MODPO_STORE": store}, **stored)
    same(run, shared, MARGIN_SERIES)
    assert SAID in run.output and "such batches stay plain" not in run.output
    refused = train(margin | {"MODPO_STORE": store, "MODPO_SHARED_PREFIX": "off"}, succeed=False, **stored)
    assert f"store {store} was scored with shared_prefix on, this run has off" in refused.output


def test_auto_scores_rows_plainly_where_sharing_does_not_pay_and_goes_on_as_begun(precompute, tmp_path):
    """Rows whose sides answer different questions."""
    apart = preference_rows(6, seed=1)
    for row in apart:
        answer = {"role": "assistant", "content": row.pop("rejected_response")}
        row["rejected_messages"] = [{"role": "user", "content": f"No. {row['messages'][0]['content']}"}, answer]
    apart = write_rows(tmp_path / "apart.jsonl", apart)
    begun = {word: precompute(f"apart {word}", word, apart) for word in (None, "on")}
    manifests = {word: json.loads((store / "manifest.json").read_text()) for word, (store, _) in begun.items()}
    assert {word: manifest["shared_prefix"] for word, manifest in manifests.items()} == {None: "off", "on": "on"}
    assert "all rows are scored plainly" in begun[None][1]
    store, _ = begun["on"]
    (store / "manifest.json").unlink()
    precompute("apart on", None, apart)
    assert json.loads((store / "manifest.json").read_text()) == manifests["on"]


# --- what stops a run -------------------------------------------------------------------------------------------------

PLANTED = """
from swift_ext.shared_prefix import SharedPrefixDPOTrainer


def forget_positions(module, args, kwargs):
    return args, {**kwargs, "position_ids": None}


class Planted(SharedPrefixDPOTrainer):
    def __init__(self, model=None, ref_model=None, *args, **kwargs):
        super().__init__(model, ref_model, *args, **kwargs)
        self.model.register_forward_pre_hook(forget_positions, with_kwargs=True)
"""
REGISTERS = """
from swift.trainers.trainer_factory import TrainerFactory

TrainerFactory.TRAINER_MAPPING["dpo"] = "planted.Planted"
"""


def test_a_model_that_shares_wrongly_stops_with_the_first_batch(train, tmp_path):
    """It loses its position ids: silent, and wrong by nats."""
    (tmp_path / "planted.py").write_text(PLANTED)
    (tmp_path / "registers.py").write_text(REGISTERS)
    environment = {"PYTHONPATH": f"{REPOSITORY}:{tmp_path}", "SHARED_PREFIX": "auto"}
    run = train(environment, plugin=False, succeed=False, external_plugins=tmp_path / "registers.py", max_steps=2)
    assert "shared prefixes are wrong for this model (llama): log-probs of the first batch differ" in run.output
    assert not (run.folder / "logging.jsonl").exists() or not run.steps


FLAGS = {"use_liger_kernel": False, "neftune_noise_alpha": None, "tuner_type": "lora", "tuner_backend": "peft"}
TEMPLATE = {"packing": False, "padding_free": False, "sequence_parallel_size": 1}


@pytest.mark.parametrize(
    "flags",
    [
        {"packing": True},
        {"padding_free": True},
        {"sequence_parallel_size": 2},
        {"use_liger_kernel": True},
        {"neftune_noise_alpha": 5.0},
        {"tuner_type": "reft"},
        {"tuner_type": "longlora"},
        {"tuner_backend": "unsloth"},
    ],
)
def test_flags_under_which_rows_cannot_share_are_named(flags):
    from swift_ext.shared_prefix.settings import hindrances, refuse_flags

    of_run = SimpleNamespace(**FLAGS | TEMPLATE | flags)
    ((name, value),) = flags.items()
    shown = f"{value:g}" if isinstance(value, float) else str(value).lower()
    with pytest.raises(ValueError, match=f"is on, but rows cannot share because --{name} {shown}"):
        refuse_flags("on", of_run, of_run)
    refuse_flags("auto", of_run, of_run)
    refuse_flags("on", SimpleNamespace(**FLAGS | TEMPLATE), SimpleNamespace(**FLAGS | TEMPLATE))
    assert len(list(hindrances(of_run, of_run))) == 1


@pytest.mark.parametrize("method", ["modpo", "shared_prefix"])
def test_flags_are_met_before_a_model_is_loaded(modpo_module, method, tmp_path, monkeypatch):
    from swift_ext.modpo import MODPOConfig
    from swift_ext.shared_prefix import SharedPrefixDPOConfig

    config, prefix = (MODPOConfig, "MODPO_") if method == "modpo" else (SharedPrefixDPOConfig, "")
    monkeypatch.setenv("MODPO_W", "1")
    monkeypatch.setenv(f"{prefix}SHARED_PREFIX", "on")
    with pytest.raises(ValueError, match="because --sequence_parallel_size 2 splits the tokens"):
        config(output_dir=str(tmp_path), use_cpu=True, sequence_parallel_size=2)
    monkeypatch.setenv(f"{prefix}SHARED_PREFIX", "auto")
    config(output_dir=str(tmp_path), use_cpu=True, sequence_parallel_size=2)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, "auto"),
        ({"SHARED_PREFIX": "on"}, "on"),
        ({"SHARED_PREFIX": "True"}, "on"),  # YAML's reading of `on` without quotes
        ({"shared_prefix": "False"}, "off"),
        ({"SHARED_PREFIX": "onn"}, r"SHARED_PREFIX: Input should be 'auto', 'on' or 'off', found 'onn'"),
        ({"SHARED_PREFIXES": "on"}, r"unknown setting SHARED_PREFIXES; did you mean 'SHARED_PREFIX'\?"),
    ],
)
def test_the_setting(variables, found, monkeypatch):
    from swift_ext.settings import read_settings
    from swift_ext.shared_prefix.settings import SharedPrefixSettings

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if found in ("auto", "on", "off"):
        assert read_settings(SharedPrefixSettings).shared_prefix == found
    else:
        with pytest.raises(ValueError, match=found):
            read_settings(SharedPrefixSettings)
