"""launch/runs/pairwise_judge/verl.sh trains a tiny judge: verl's own loop, Ray, FSDP2 and vLLM, on a CPU that verl takes for a GPU.

It needs one environment with vLLM's CPU build, as `bash launch/test_engines.sh` makes it, but without trl, of which verl asks for a
class that trl 1.16 no longer has; beside it `pip install --no-deps verl==0.9.1`, and ray[default], hydra-core, tensordict below 0.11,
torchdata, codetiming, pylatexenc and TransferQueue. The transformers that this vLLM needs is newer than verl declares.
"""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.engines.record import record
from tests.tiny import SENTENCES, VERDICTS, build_scoring_model, write_rows
from trl_ext.objectives.verdicts import is_correct, parse_verdict

pytest.importorskip("verl")
pytest.importorskip("vllm")
pytestmark = pytest.mark.engine

STEPS, PROMPTS, ANSWERS = 3, 8, 4
# What a tiny model and a CPU need; all else is the script's.
SMALL = f"""
    data.train_batch_size={PROMPTS} data.val_batch_size={PROMPTS} data.max_prompt_length=1024 data.max_response_length=4
    actor_rollout_ref.actor.ppo_mini_batch_size=4 actor_rollout_ref.actor.optim.lr=0.003
    actor_rollout_ref.rollout.tensor_model_parallel_size=1 actor_rollout_ref.rollout.calculate_log_probs=true
    trainer.n_gpus_per_node=1 trainer.total_training_steps={STEPS} trainer.save_freq=-1 trainer.test_freq=-1
"""
ON_A_CPU = """
    trainer.device=cpu ray_kwargs.ray_init.num_cpus=16 +ray_kwargs.ray_init.num_gpus=1 +ray_kwargs.ray_init.include_dashboard=false
    actor_rollout_ref.actor.strategy=fsdp2 actor_rollout_ref.model.use_remove_padding=false
    +actor_rollout_ref.model.override_config.attn_implementation=sdpa actor_rollout_ref.rollout.enforce_eager=true
    actor_rollout_ref.rollout.free_cache_engine=false +actor_rollout_ref.rollout.enable_sleep_mode=false
    actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes=64 actor_rollout_ref.rollout.agent.num_workers=1
    transfer_queue.backend.SimpleStorage.num_data_storage_units=1
"""
HARNESS = REPOSITORY / "tests" / "engines" / "harness"
SWITCHES = {
    "VERL_USE_EXTERNAL_MODULES": "tests.pairwise_judge.verl_cpu", "VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda",
    "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "300",
    "PYTHONPATH": f"{HARNESS}{os.pathsep}{REPOSITORY}",
}  # fmt: skip


def built_rows(folder: Path) -> None:
    """The builder's own Parquet files of made judgements, where the script looks for them."""
    words = random.Random(0)
    rows = [
        {
            "split": "train" if pair < 16 else "validation", "prompt": f"{words.choice(SENTENCES)} ({pair})",
            "response_1": f"{words.choice(SENTENCES)} {pair}.0", "response_2": f"{words.choice(SENTENCES)} {pair}.1",
            "preference_strength": (-2, 1, 0)[pair % 3],
        }
        for pair in range(20)
    ]  # fmt: skip
    source = write_rows(folder / "preference.jsonl", rows)
    argv = [
        sys.executable,
        "-m",
        "datasets_builders",
        "helpsteer2-pairwise",
        "--path",
        source,
        "--output_dir",
        "data/judge",
    ]
    subprocess.run(argv, cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=True, capture_output=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, str]:
    """The folder of a run, and what it printed."""
    folder = tmp_path_factory.mktemp("verl_training")
    built_rows(folder)
    model = build_scoring_model(folder / "model", answers=VERDICTS, head_dim=32, max_position_embeddings=4096)
    here = f"actor_rollout_ref.model.path={model} trainer.rollout_data_dir={folder}/dump trainer.default_local_dir={folder}/saved"
    argv = ["bash", str(REPOSITORY / "launch/runs/pairwise_judge/verl.sh"), *f"{here} {SMALL} {ON_A_CPU}".split()]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(prefix="ray") as short:  # Ray's sockets do not fit behind a long path
        env = {**os.environ, **SWITCHES, "PATH": path, "RAY_TMPDIR": short}
        with (folder / "log").open("w") as log:
            code = subprocess.run(argv, cwd=folder, env=env, stdout=log, stderr=log, timeout=1200).returncode
    output = (folder / "log").read_text()
    assert code == 0, output[-6000:]
    return folder, output


def logged(output: str, name: str) -> list[float]:
    """A metric of each step, from the lines that verl's console logger printed."""
    return [
        float(value) for value in re.findall(rf"step:\d+ .*?{re.escape(name)}:(?:np\.float\d+\()?(-?[\d.e-]+)", output)
    ]


def test_rewards_are_those_of_the_completions_scored_again(trained):
    folder, output = trained
    means, verdicts = [], set()
    for step in range(1, STEPS + 1):
        rows = [json.loads(line) for line in (folder / "dump" / f"{step}.jsonl").read_text().splitlines()]
        assert len(rows) == PROMPTS * ANSWERS
        again = [is_correct(parse_verdict(row["output"]), row["gts"]) for row in rows]
        assert [row["score"] for row in rows] == again
        means.append(sum(again) / len(again))
        verdicts |= {parse_verdict(row["output"]) for row in rows}
    assert len(verdicts & {"A", "B", "tie"}) == 3 and 0 < sum(means) < STEPS
    assert logged(output, "critic/rewards/mean") == pytest.approx(means, abs=1e-6)
    apart = logged(output, "training/rollout_probs_diff_mean")
    assert len(apart) == STEPS and max(apart) < 0.01, apart  # bf16: 0.001 was seen
    seen = (
        f"verl.sh with a tiny random model, one CPU rank that verl takes for a GPU by a platform of the test, FSDP2, vLLM in bf16: "
        f"{STEPS} steps of {PROMPTS} prompts and {ANSWERS} answers; rewards and their logged means are those of the completions scored "
        f"again; the engine's probabilities of sampled tokens are the policy's to {max(apart):.1g} on average in the worst step; "
        "both orders are not kept together"
    )
    record("Pairwise judge", "verl", "ran", seen, ("verl", "ray", "vllm", "transformers", "torch"))
