import json

import pytest

from launch.answers.checkpoints import list_checkpoints, step_of
from launch.answers.trained_model import resolve_checkpoint, resolve_run_dir


@pytest.fixture
def run(tmp_path):
    """A run with adapters at 2 and 10, full weights at 100 and a save that broke off at 1000."""
    run = tmp_path / "run"
    for name, files in {
        "checkpoint-10": ["adapter_config.json", "adapter_model.safetensors"],
        "checkpoint-2": ["adapter_config.json", "adapter_model.safetensors"],
        "checkpoint-100": ["config.json", "model-00001-of-00002.safetensors"],
        "checkpoint-1000": ["config.json", "training_args.bin"],
        "checkpoint-2000": ["adapter_config.json"],
        "images": [],
    }.items():
        (run / name).mkdir(parents=True)
        for file in files:
            (run / name / file).write_text('{"base_model_name_or_path": "org/from-adapter"}')
    write_args(run, model="org/base", template="chatml", system="Judge.", torch_dtype="torch.bfloat16")
    return run


def write_args(folder, **values):
    (folder / "args.json").write_text(json.dumps(values))


def test_an_adapter_brings_the_base_model_and_the_ways_of_its_run(run):
    found = resolve_checkpoint(str(run), "checkpoint-10", None)
    assert (found.label, found.model, found.adapter) == ("checkpoint-10", "org/base", str(run / "checkpoint-10"))
    assert (found.template, found.system, found.dtype, found.use_chat_template) == (
        "chatml",
        "Judge.",
        "bfloat16",
        True,
    )
    assert found.home == run
    by_path = resolve_checkpoint(None, str(run / "checkpoint-10"), None)
    assert by_path == found
    assert resolve_checkpoint(str(run), "checkpoint-10", "/moved/base").model == "/moved/base"


def test_the_checkpoints_own_arguments_come_first(run):
    write_args(run / "checkpoint-10", model="org/other", use_chat_template=False, enable_thinking=True)
    found = resolve_checkpoint(str(run), "checkpoint-10", None)
    assert (found.model, found.template, found.use_chat_template, found.enable_thinking) == (
        "org/other",
        None,
        False,
        True,
    )


def test_without_any_arguments_the_adapter_names_its_base(run):
    (run / "args.json").unlink()
    assert resolve_checkpoint(str(run), "checkpoint-10", None).model == "org/from-adapter"
    (run / "checkpoint-10" / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="names the base model; use --model"):
        resolve_checkpoint(str(run), "checkpoint-10", None)


def test_full_weights_are_the_model(run):
    found = resolve_checkpoint(str(run), "checkpoint-100", None)
    assert (found.model, found.adapter, found.template) == (str(run / "checkpoint-100"), None, "chatml")
    with pytest.raises(ValueError, match="full weights, so --model"):
        resolve_checkpoint(str(run), "checkpoint-100", "org/base")


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (
            "checkpoint-3",
            "not in .*there are: checkpoint-0, checkpoint-2, checkpoint-10, checkpoint-100, checkpoint-1000",
        ),
        ("checkpoint-1000", "neither an adapter .* nor full weights"),
        ("checkpoint-2000", "the save is incomplete"),
        ("images", "neither an adapter"),
        (None, "needs --checkpoint; there are: checkpoint-0"),
    ],
)
def test_what_is_missing_is_an_error_and_never_the_base_model(run, checkpoint, message):
    with pytest.raises(ValueError, match=message):
        resolve_checkpoint(str(run), checkpoint, None)
    with pytest.raises(ValueError, match=message):
        resolve_checkpoint(str(run), checkpoint, "org/base")


def test_checkpoint_0_is_where_the_run_started(run):
    found = resolve_checkpoint(str(run), "checkpoint-0", None)
    assert (found.label, found.model, found.adapter, found.template) == ("checkpoint-0", "org/base", None, "chatml")
    write_args(run, model="org/base", adapters=["warm/up"])
    assert resolve_checkpoint(str(run), "checkpoint-0", None).adapter == "warm/up"
    write_args(run, model="org/base", adapters=["a", "b"])
    with pytest.raises(ValueError, match="several adapters"):
        resolve_checkpoint(str(run), "checkpoint-0", None)
    (run / "args.json").unlink()
    with pytest.raises(ValueError, match=r"no args\.json names it"):
        resolve_checkpoint(str(run), "checkpoint-0", None)
    with pytest.raises(ValueError, match="needs --run_dir"):
        resolve_checkpoint(None, "checkpoint-0", "org/base")


def test_a_model_alone(tmp_path):
    found = resolve_checkpoint(None, None, "org/name with space")
    assert (found.label, found.model, found.adapter) == ("org-name-with-space", "org/name with space", None)
    (tmp_path / "weights").mkdir()
    assert resolve_checkpoint(None, None, str(tmp_path / "weights")).home == tmp_path
    with pytest.raises(ValueError, match="say what to evaluate"):
        resolve_checkpoint(None, None, None)


def test_checkpoints_are_sorted_by_number(run):
    assert [place.name for place in list_checkpoints(run)] == [f"checkpoint-{n}" for n in (2, 10, 100, 1000, 2000)]
    assert [step_of(name) for name in ("checkpoint-30", "/a-1/checkpoint-7", "checkpoint-x", "best")] == [
        30,
        7,
        None,
        None,
    ]


def test_the_newest_run_is_the_one_with_the_highest_version(run, tmp_path):
    outer = tmp_path / "outer"
    for name in ("v2-20260301-1", "v10-20260101-1", "v9-20260401-1", "other"):
        (outer / name).mkdir(parents=True)
    assert resolve_run_dir(str(outer)).name == "v10-20260101-1"
    assert resolve_run_dir(str(run)) == run
    with pytest.raises(ValueError, match=r"neither args\.json nor"):
        resolve_run_dir(str(outer / "other"))
    with pytest.raises(ValueError, match="no such folder"):
        resolve_run_dir(str(tmp_path / "absent"))


def test_a_damaged_args_file_is_named(run):
    (run / "args.json").write_text("{")
    with pytest.raises(ValueError, match=r"args\.json: not JSON"):
        resolve_checkpoint(str(run), "checkpoint-0", None)
