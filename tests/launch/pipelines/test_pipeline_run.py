"""The whole pipeline on the tiny model through real command lines, undisturbed and with `kill -9` in the middle."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import REPOSITORY
from tests.tiny import preference_rows, write_rows

pytest.importorskip("swift")
pytest.importorskip("doit")
pytestmark = pytest.mark.integration


def start(folder, out, tiny, *extra, warm=None):
    """The pipeline under way; with a warm server it and its stages are runs of that, not new interpreters."""
    for name, seed, count in (("preference", 0, 24), ("margin", 1, 24), ("margin_val", 3, 12)):
        path = folder / f"{name}.jsonl"
        if not path.exists():
            write_rows(path, preference_rows(count, seed))
    settings = {
        "preset": "quickstart", "run_tag": "tiny", "out": out, "model": tiny, "data": "files", "torch_dtype": "float32",
        "preference_file": folder / "preference.jsonl", "margin_file": folder / "margin.jsonl",
        "margin_val_file": folder / "margin_val.jsonl", "w_values": "0.5", "dpo_max_steps": 2, "modpo_max_steps": 4,
        "save_steps": 1, "eval_steps": 2, "max_new_tokens": 8, "eval_size": 4, "gen_samples": 2, "gen_batch_size": 4,
        "min_margin_accuracy": 0, "soup": "true", "start": "margins", "stages_at_once": 1,
    }  # fmt: skip
    argv = [
        "helpsteer-modpo",
        *(part for name, value in settings.items() for part in (f"--{name}", str(value))),
        *extra,
    ]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    log = folder / "said.log"
    log.unlink(missing_ok=True)
    if warm is not None:
        return log, warm.start("launch", argv, env, folder, log, warm_children=True)
    with log.open("w") as said:
        command = [sys.executable, "-m", "launch", *argv]
        return log, subprocess.Popen(command, env=env, stdout=said, stderr=said, start_new_session=True)


def finish(log, process) -> str:
    assert process.wait(timeout=500) == 0, log.read_text()[-3000:]
    return log.read_text()


def results(out) -> dict[str, str]:
    """Digests of every stage's outputs as the manifests hold them."""
    manifests = sorted((out / "manifests").glob("*.json"))
    rows = {path.stem: json.loads(path.read_text()) for path in manifests if not path.stem.endswith("started")}
    return {name: row["outputs"] for name, row in rows.items() if name not in ("report", "score", "validate")}


@pytest.fixture(scope="module")
def undisturbed(warm_swift, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    return folder, folder / "run", finish(*start(folder, folder / "run", tiny, warm=warm_swift))


def test_pipeline_ends_in_a_report(undisturbed):
    _, out, said = undisturbed
    assert "[1/13] check the data files: done" in said and "[13/13] trade-off picture and report: done" in said
    assert (out / "report" / "tradeoff.png").stat().st_size > 10_000
    page = (out / "report" / "report.html").read_text()
    assert "data:image/png;base64," in page
    saved = json.loads((out / "modpo_w0.5" / "checkpoint-4" / "modpo_settings.json").read_text())
    assert saved["w"] == 0.5 and saved["margins"][0]["role"] == "reward" and saved["start"] == "margins"
    assert "the policy starts where the margins vanish" in (out / "logs" / "modpo_w0.5.log").read_text()


def test_the_soup_mixes_the_two_dpo_adapters_and_is_reported_beside_the_policies(undisturbed):
    _, out, _ = undisturbed
    note = json.loads((out / "soup_w0.5" / "soup.json").read_text())
    assert note["mixtures"][0]["weights"] == [0.5, 0.5]
    ends = [str(out / f"{name}_dpo" / "checkpoint-2") for name in ("preference", "margin")]
    assert list(note["sources"].values()) == ends
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["labels"] == ["base", "w0.5", "soup_w0.5"] and report["soups"] == {"soup_w0.5": 0.5}


def test_same_command_again_does_nothing(warm_swift, undisturbed, tiny):
    folder, out, _ = undisturbed
    said = finish(*start(folder, out, tiny, warm=warm_swift))
    assert said.count("already done") == 13 and "started" not in said


def test_a_new_w_trains_only_itself_and_a_kill_nine_in_the_middle_of_it_changes_nothing(warm_swift, undisturbed, tiny):
    """Killed after the first checkpoint: the stage goes on from there, and ends as one that starts from nothing, to the bit.

    What is killed is what a user starts, new interpreters all; the rest are runs of the warm server.
    """
    folder, out, _ = undisturbed
    before, both = results(out), ("--w_values", "0.5,0.9")
    log, process = start(folder, out, tiny, *both)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (out / "modpo_w0.9" / "checkpoint-1" / "trainer_state.json").exists():
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "manifests" / "modpo_w0.9.json").exists()
    said = finish(*start(folder, out, tiny, *both, warm=warm_swift))
    assert "train the margin adapter (DPO): already done" in said and "--resume_from_checkpoint" in said
    started = {line.split("] ")[1].split(":")[0] for line in said.splitlines() if line.endswith(": started")}
    assert "generate with w0.9" in started
    assert not any("margin adapter" in title or "w = 0.5" in title or "w0.5" in title for title in started), started
    continued = results(out)
    assert {name: continued[name] for name in before} == before
    shutil.rmtree(out / "modpo_w0.9")
    said = finish(*start(folder, out, tiny, *both, warm=warm_swift))
    assert said.count("started") == 1 and "--resume_from_checkpoint" not in said, said
    assert results(out) == continued
