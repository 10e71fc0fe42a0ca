"""A margin store gives the losses of live margins, survives a kill, and is refused when it is stale."""

import json
import os
import signal
import time

import pytest

from tests.conftest import REPOSITORY, free_port, swift_flags
from tests.tiny import build_adapter

pytest.importorskip("swift")
pytestmark = pytest.mark.integration


def environment(margins) -> dict[str, str]:
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MODPO_MARGINS": json.dumps(margins), "OMP_NUM_THREADS": "1"}
    env.pop("MODPO_W", None)
    return env


@pytest.fixture(scope="module")
def start(warm_swift):
    """start(store, flags, margins, log): a run of `python -m launch precompute-margins`, under way."""

    def run(store, flags, margins, log):
        argv = ["precompute-margins", "--store", str(store), *flags]
        return warm_swift.start("launch", argv, environment(margins), log.parent, log)

    return run


@pytest.fixture(scope="module")
def precompute(start):
    """precompute(store, flags, margins): (exit code, output)."""

    def run(store, flags, margins):
        (log := store.with_suffix(".log")).unlink(missing_ok=True)
        return start(store, flags, margins, log).wait(300), log.read_text()

    return run


@pytest.fixture(scope="module")
def margins(adapter):
    return [
        {"adapter": str(adapter), "name": "taste"},
        {"function": "negative_response_tokens", "name": "short", "role": "cost", "weight": 0.01},
    ]


@pytest.fixture(scope="module")
def store(tiny, pairs, margins, precompute, tmp_path_factory):
    """From a run file with an `ENV:` map, a weight and noise in it; the other stores here come from flags."""
    folder = tmp_path_factory.mktemp("stores") / "store"
    run_file = folder.with_suffix(".yaml")
    flags = swift_flags(tiny, pairs, folder, neftune_noise_alpha=5)
    values = {name.removeprefix("--"): value for name, value in zip(flags[::2], flags[1::2], strict=True)}
    run_file.write_text(json.dumps({"ENV": {"MODPO_W": 0.5, "MODPO_MARGINS": json.dumps(margins)}, **values}))
    code, output = precompute(folder, [str(run_file)], margins)
    assert code == 0, output[-2000:]
    return folder


@pytest.fixture(scope="module")
def train(tiny, pairs, margins, run_swift, tmp_path_factory):
    def run(name, store=None, **overrides):
        folder = tmp_path_factory.mktemp("runs") / name
        data = store / "train.jsonl" if store else pairs
        stored = {"dataset_shuffle": False, "remove_unused_columns": False} if store else {}
        environment = {"MODPO_W": "0.5", "MODPO_MARGINS": json.dumps(margins)}
        if store:
            environment["MODPO_STORE"] = store
        return run_swift(folder, swift_flags(tiny, data, folder, **stored | overrides), environment)

    return run


def test_stored_margins_give_the_losses_of_live_ones(train, store):
    """The batches differ in padding only, so fp32 sums differ in the last bits: 1e-5."""
    live, stored = train("live"), train("stored", store)
    assert live.returncode == 0 and stored.returncode == 0, stored.output[-2000:]
    assert len(live.steps) == len(stored.steps) == 4
    for name in ("loss", "rewards/margins", "margin_rewards/taste/gap", "margin_rewards/short/gap", "logps/chosen"):
        assert stored.series(name) == pytest.approx(live.series(name), rel=1e-4, abs=1e-5), name
    assert "no reference forward" in stored.output


@pytest.mark.parametrize(
    "change, said",
    [
        ({"system": "Answer in one word."}, "the tokens of row"),
        ({"remove_unused_columns": True}, "--remove_unused_columns false"),
    ],
)
def test_store_that_does_not_fit_the_rows_is_refused(train, store, change, said):
    run = train("stale", store, **change)
    assert run.returncode != 0 and said in run.output


def test_store_of_another_adapter_is_refused(tiny, pairs, store, margins, run_swift, tmp_path):
    other = build_adapter(tiny, tmp_path / "other", seed=9)
    changed = [{**margins[0], "adapter": str(other)}, margins[1]]
    environment = {"MODPO_W": "0.5", "MODPO_MARGINS": json.dumps(changed), "MODPO_STORE": store}
    run = run_swift(tmp_path / "run", swift_flags(tiny, store / "train.jsonl", tmp_path / "run"), environment)
    assert run.returncode != 0 and "stale store" in run.output and "'taste'" in run.output


def test_the_command_line_with_two_processes_fills_the_same_store(warm_swift, tiny, pairs, store, margins, tmp_path):
    argv = ["precompute-margins", "--store", tmp_path / "two", *swift_flags(tiny, pairs, tmp_path / "two")]
    env = environment(margins) | {"NPROC_PER_NODE": "2", "MASTER_PORT": free_port()}
    done = warm_swift.run("launch", [*argv, "--ddp_backend", "gloo"], env, tmp_path, warm_children=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    assert (tmp_path / "two" / "train.jsonl").read_bytes() == (store / "train.jsonl").read_bytes()


def test_kill_and_restart_end_in_the_same_store(tiny, pairs, store, margins, start, precompute, tmp_path):
    folder, log = tmp_path / "killed", tmp_path / "first.log"
    flags = swift_flags(tiny, pairs, folder, per_device_eval_batch_size=1)
    run = start(folder, flags, margins, log)
    deadline = time.monotonic() + 120
    part = folder / "part.train.0.jsonl"
    while time.monotonic() < deadline and not (part.is_file() and part.stat().st_size > 0):
        assert run.poll() is None, log.read_text()[-2000:]
        time.sleep(0.002)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    assert not (folder / "manifest.json").exists()
    with part.open("ab") as handle:
        handle.write(b'{"index": 3, "pair_tok')  # a torn last line
    code, output = precompute(folder, flags, margins)
    assert code == 0, output[-2000:]
    assert (folder / "train.jsonl").read_bytes() == (store / "train.jsonl").read_bytes()
    code, output = precompute(folder, flags, [{**margins[0], "name": "renamed"}])
    assert code == 2 and "belongs to another store: margins" in output


def test_empty_data_after_filtering_is_named(tiny, pairs, margins, precompute, tmp_path):
    code, output = precompute(tmp_path / "none", swift_flags(tiny, pairs, tmp_path / "none", max_length=8), margins)
    assert code == 2 and f"no row of ['{pairs}'] is left" in output and "--max_length 8" in output
    assert not (tmp_path / "none" / "manifest.json").exists()


def test_a_last_line_that_is_cut_off_does_not_count_as_scored(modpo_module, tmp_path):
    """A kill between an object and its line end: the row was taken for scored, and its line thrown away."""
    from swift_ext.modpo.precompute import _cut_torn_line, _finished_rows

    part = tmp_path / "part.train.0.jsonl"
    part.write_bytes(b'{"index": 0, "pair_tokens": "a"}\n{"index": 1, "pair_tokens": "b"}')
    assert _finished_rows(tmp_path, "train") == {0: {"pair_tokens": "a"}}
    _cut_torn_line(part)
    assert part.read_bytes() == b'{"index": 0, "pair_tokens": "a"}\n'


def test_settings_of_a_run_file_are_taken_and_contradictions_refused(modpo_module, tmp_path, monkeypatch):
    """The command set MODPO_W itself, and then refused it as one of the shell that contradicts the run file."""
    from swift.cli.main import parse_yaml_args

    from swift_ext.modpo.precompute import _take_settings
    from swift_ext.modpo.settings import MODPOSettings
    from swift_ext.settings import read_settings

    run_file = tmp_path / "run.yaml"
    run_file.write_text(
        "ENV:\n  MODPO_W: 0.5\n  MODPO_MARGIN_FUNCTION: brevity\n  MODPO_NORMALIZED_WEIGHTS: true\nbeta: 0.1\n"
    )
    ours = [f"MODPO_{field.upper()}" for field in MODPOSettings.model_fields] + ["SWIFT_CONFIG_FILE"]
    for name in ours:  # set, then deleted: put back as it was afterwards
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    argv = [str(run_file), "--model_kwargs", '{"modpo_margin_function": "long_words", "max_pixels": 1}']
    parse_yaml_args(argv)
    _take_settings(argv)
    (margin,) = read_settings(MODPOSettings).resolve(0.1)
    assert (margin.source, margin.weight) == ("long_words", 0)
    assert argv == ["--beta", "0.1", "--model_kwargs", '{"max_pixels": 1}']
    monkeypatch.setenv("MODPO_W", "0.9")
    parse_yaml_args(argv := [str(run_file)])
    monkeypatch.delenv("MODPO_MARGINS")
    with pytest.raises(ValueError, match=r"MODPO_W is '0.9' in the shell but .*run.yaml says 0.5"):
        _take_settings(argv)
