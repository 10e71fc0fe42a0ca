"""Every command that is written down is taken, to its last flag, by the parser of the program that it starts.

Nothing is run: no model, no data and no server is touched. What has no parser here (vLLM's server, Ray) must be marked on
its page, `not run here`.
"""

import argparse
import ast
import dataclasses
import inspect
import os
import subprocess
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Optional, Union

import pytest

from tests.conftest import REPOSITORY
from tests.documented import Command, commands, documented

COMMANDS = documented()
# tests/launch/test_vllm_server.py starts a real `vllm serve`.
SHELL_TOOLS = {"head", "jq", "curl", "mkdir", "mv", "vllm"}
SWIFT = {"rlhf": "RLHFArguments", "sft": "SftArguments", "infer": "InferArguments", "rollout": "RolloutArguments"}
SCRIPTS = {
    "trl_ext.modpo.script": "ScriptArguments MODPOConfig ModelConfig DatasetMixtureConfig",
    "trl_ext.moodpo.script": "ScriptArguments MOODPOConfig",
    "trl_ext.d2po.script": "ScriptArguments PromptArguments D2POConfig ModelConfig DatasetMixtureConfig",
}
SETTINGS = {
    "MODPO_": "swift_ext.modpo.settings.MODPOSettings",
    "BT_": "swift_ext.bt_grpo.settings.BTSettings",
    "JUDGE_": "swift_ext.pairwise_judge.settings.JudgeSettings",
}


class Parsed(Exception):
    """The command line was taken; what would follow is not run."""


def stop_behind_arguments(patch, is_open: bool) -> None:
    """A program ends where argparse has taken its arguments: full names alone, nothing left over.

    Where the reader has to add something, what is missing is no error.
    """

    def parse_args(self, args=None, namespace=None):
        self.allow_abbrev = False
        for part in [*self._actions, *self._mutually_exclusive_groups] if is_open else []:
            part.required = False
        _, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        raise Parsed

    patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)


def ends_behind_arguments(main, *argv: list[str]) -> None:
    try:
        code = main(*argv)
    except Parsed:
        return
    if code == 0 and argv == (["--help"],):
        return
    raise AssertionError(f"its arguments were not taken: exit status {code}")


def python(argv: list[str], is_open: bool, patch) -> None:
    module, rest = (argv[1], argv[2:]) if argv[0] == "-m" else (argv[0], argv[1:])
    if module == "launch":
        verb(rest, is_open, patch)
        return
    if module == "pytest":
        assert all((REPOSITORY / path).exists() for path in rest)
        return
    name = module if module.startswith(("tests.", "benchmarks.")) else f"{module}.__main__"
    if module.endswith(".py"):
        name = module.removesuffix(".py").replace("/", ".")
    main = import_module(name).main
    if module == "swift_ext":
        assert main(rest) == 0
        return
    stop_behind_arguments(patch, is_open)
    patch.setattr("sys.argv", [module, *rest])
    ends_behind_arguments(main, *([rest] if inspect.signature(main).parameters else []))


def verb(argv: list[str], is_open: bool, patch) -> None:
    """`python -m launch`: verbs that hand flags on to another parser are followed to that parser."""
    from launch.__main__ import main
    from launch.cli.verbs import current_verb

    name, *rest = argv
    assert current_verb(name, rest) == name, f"the old spelling of {current_verb(name, rest)}"
    if name == "helpsteer-modpo" and not is_open:
        from launch.pipelines.read_config import load_config

        load_config(rest)
    elif name == "tune-modpo" and not is_open:
        pytest.importorskip("optuna")
        from launch.tune.tune_modpo import read_settings

        read_settings(rest)
    elif name == "doctor":
        from launch.doctor.doctor import make_parser
        from launch.doctor.run_file import read_flags

        read_flags(make_parser().parse_known_args(rest[bool(rest) :])[1])
    elif name == "precompute-margins":
        assert rest[:1] in ([], ["--store"])
        swift(["rlhf", *rest[2:]])
    elif name == "sweep-bt":
        from launch.bt import eval_bt, sweep

        _, others = sweep.make_parser().parse_known_args(rest)
        eval_bt.make_parser().parse_args([*others, "--run_dir", "RUN"])
    else:
        stop_behind_arguments(patch, is_open)
        ends_behind_arguments(main, argv)


def swift(argv: list[str]) -> None:
    """ms-swift's own fields, with the run file that the command names in front, as its command line puts it there."""
    arguments = pytest.importorskip("swift.arguments")
    from swift.cli.main import parse_yaml_args

    flags = list(argv[1:])
    parse_yaml_args(flags)
    swift_parser(getattr(arguments, SWIFT[argv[0]])).parse_args(flags)


@cache
def swift_parser(arguments: type) -> argparse.ArgumentParser:
    from transformers import HfArgumentParser

    parser = HfArgumentParser(arguments, allow_abbrev=False)
    for action in parser._actions:
        # Of `dict | str | None` it takes the second as the type, and typing's cache hands out the order that any module
        # of this process wrote first. In a process of its own it is str.
        if action.type is dict:
            action.type = str
    return parser


def script(argv: list[str], is_open: bool) -> None:
    """`-m MODULE flags` of a script of TRL or of ours, by its own parser, with the run file that it names."""
    assert argv[0] == "-m", argv
    module, flags = import_module(argv[1]), [*argv[2:], "--use_cpu", "true"]
    if argv[1] in SCRIPTS:
        from trl_ext.script import ScriptParser

        parser = ScriptParser(tuple(getattr(module, name) for name in SCRIPTS[argv[1]].split()))
    else:
        parser = module.make_parser()
    parser.allow_abbrev = False
    if is_open:  # names and values alone; the run file may be one that the reader will have
        for action in parser._actions:
            action.required = False
        parser.add_argument("--config")
        parser.parse_args(flags)
        return
    if "d2po" in argv[1] and "smollm2" not in " ".join(flags):
        flags += ["--gold", "unique_nns", "--gold_arguments", "{}"]  # theirs is a model, which would be loaded
    if "vllm_server" in " ".join(flags) and version("trl").startswith("0."):
        with pytest.raises(ValueError, match="trains on meaningless pairs"):
            parser.parse_args_and_config(flags)
    else:
        parser.parse_args_and_config(flags)


def of_trl(program: str, argv: list[str], is_open: bool) -> None:
    if find_spec("trl") is None:
        pytest.skip("TRL is not installed")
    if program == "accelerate":
        from tests.launch.accelerate_command import resolve

        assert argv[0] == "launch"
        script(resolve(argv[1:])[1], is_open)
    elif program == "torchrun":
        from torch.distributed.run import get_args_parser

        args = get_args_parser().parse_args(argv)
        script([*(["-m"] if args.module else []), args.training_script, *args.training_script_args], is_open)
    elif argv[0] == "vllm-serve":
        import_module("trl.scripts.vllm_serve").make_parser().parse_args(argv[1:])
    else:
        script(["-m", f"trl.scripts.{argv[0]}", *argv[1:]], is_open)


def pip(argv: list[str]) -> None:
    """`pip install` of this package: its extras and the file of constraints are there."""
    values = [
        node.value for node in ast.parse((REPOSITORY / "setup.py").read_text()).body if isinstance(node, ast.Assign)
    ]
    extras = next(one for value in values if isinstance(value, ast.Dict) and "dev" in (one := ast.literal_eval(value)))
    command, *rest = [word for word in argv if word != "-e"]
    assert command == "install" and rest[1:2] in ([], ["-c"])
    assert set(rest[0].partition("[")[2].partition("]")[0].split(",")) <= set(extras), rest[0]


def take(command: Command, patch) -> None:
    """Raises SystemExit, ValueError or AssertionError where the program would not take the command."""
    program, *argv = command.words
    for text in [*argv, *dict(command.environment).values()]:
        assert not text.startswith("launch/") or (REPOSITORY / text).exists(), f"no file {text}"
    for name, _ in command.environment:
        for prefix, path in SETTINGS.items():
            module, _, settings = path.rpartition(".")
            if name.startswith(prefix):
                fields = getattr(import_module(module), settings).model_fields
                assert name.removeprefix(prefix).lower() in fields, name
    if program == "python":
        python(argv, command.is_open, patch)
    elif program == "swift":
        swift(argv)
    elif program in ("accelerate", "trl", "torchrun"):
        of_trl(program, argv, command.is_open)
    elif program == "pip":
        pip(argv)
    elif program in ("bash", "sbatch"):
        assert subprocess.run(["bash", "-n", REPOSITORY / argv[0]]).returncode == 0
    else:
        assert command.marked or program in SHELL_TOOLS, f"{program} has no parser here: mark its line `not run here`"


@pytest.fixture
def here(monkeypatch, tmp_path):
    """The repository as the working folder; the environment is afterwards as it was before."""
    monkeypatch.chdir(REPOSITORY)
    before = dict(os.environ)
    judge = tmp_path / "judge.yaml"  # read before a model is loaded; a judge at a server would need the extra `api`
    judge.write_text("model: Qwen/Qwen2.5-0.5B-Instruct\n", encoding="utf-8")
    monkeypatch.setenv("PAIRWISE_JUDGE_CONFIG", str(judge))
    # What an earlier command makes, such as runs/margin/checkpoint-1000, is not there yet.
    monkeypatch.setattr("datasets_builders.model_names.is_path", lambda name: False)
    yield monkeypatch
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_documented_command_is_taken(command: Command, here, capsys):
    try:
        take(command, here)
    except SystemExit as end:
        assert end.code == 0 and "--help" in command.words, f"{' '.join(command.words)}\n{capsys.readouterr().err}"
    assert " is now " not in capsys.readouterr().err, f"an old name: {' '.join(command.words)}"


def test_every_page_and_every_launch_line_was_read():
    found = {command.file for command in COMMANDS}
    headed = [path for path in (REPOSITORY / "launch").rglob("*.*") if path.suffix in (".yaml", ".sbatch")]
    wanted = {path.relative_to(REPOSITORY).as_posix() for path in headed if "# Launch:" in path.read_text("utf-8")}
    wanted |= {
        f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md") if "```bash" in path.read_text("utf-8")
    }
    assert not wanted - found and len(COMMANDS) > 300


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("python -m launch steer --model BASE --adapter A --weight a=1 Why?", SystemExit),  # a beginning of --weights
        ("python -m launch pareto ... --prompt p.jsonl", SystemExit),
        ("python -m launch steerr --model BASE", AssertionError),
        ("python -m launch sweep-bt --run_dir RUN --n_sample 2", SystemExit),
        ("python -m launch helpsteer-modpo --preset helpster --out runs/h", ValueError),
        ("for split in train test; do python -m datasets_builders helpsteer --attribute verbosity --out o --splitt $split; done", SystemExit),
        ("accelerate launch --cpuu -m trl_ext.modpo.script --config launch/runs/modpo_trl/smollm2.yaml", SystemExit),
        ("accelerate launch --cpu -m trl_ext.modpo.script --config launch/runs/modpo_trl/smollm2.yaml --weight 1", ValueError),
        ("swift rlhf launch/runs/pairwise_judge/one_gpu.yaml --max_stepps 30", SystemExit),
        ("swift rlhf launch/runs/pairwise_judge/two_gpus.yaml", AssertionError),
        ("MODPO_WEIGHT=1 swift rlhf --rlhf_type dpo", AssertionError),
        ('pip install -e ".[swift,evaluation]"', AssertionError),
        ("sglang serve BASE", AssertionError),
    ],
)  # fmt: skip
def test_a_wrong_command_would_be_found(text, error, here):
    if text.startswith(("swift", "MODPO")):
        pytest.importorskip("swift")
    with pytest.raises(error):
        take(next(iter(commands("page", [(1, text)]))), here)


def test_commands_are_read_as_a_shell_reads_them():
    lines = [
        "A=1 python -m x --a \\",
        '  "b  c" > out &  # why',
        "for i in 0 1; do y --i $i --j ${i/0/2} ...; done; z | w",
    ]
    found = list(commands("page", list(enumerate(lines, 1))))
    assert [(one.line, one.words) for one in found] == [
        (1, ("python", "-m", "x", "--a", "b  c")),
        *((3, ("y", "--i", value, "--j", value)) for value in "01"),
        (3, ("z",)),
        (3, ("w",)),
    ]
    assert found[0].environment == (("A", "1"),) and found[1].is_open and not found[0].is_open


def test_an_object_is_taken_whichever_way_round_its_type_is_written():
    @dataclasses.dataclass
    class Arguments:
        one: dict | str | None = None
        other: Optional[Union[str, dict]] = None  # noqa: UP007, UP045

    taken = swift_parser(Arguments).parse_args(["--one", '{"a": 1}', "--other", '{"a": 1}'])
    assert taken.one == taken.other == '{"a": 1}'
