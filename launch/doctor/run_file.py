"""A run as it will be started: run file, flags that override it, environment, number of processes."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets_builders.yaml_file import read_mapping
from launch.doctor.methods import Method, detect, named

ENVIRONMENT_KEYS = ("ENV", "env")  # of ms-swift and of TRL


@dataclass(frozen=True)
class Run:
    """What is to be started.

    Attributes:
        file: the run file, or None when everything came by flags and environment.
        method: None when nothing says what kind of run it is.
        values: keys of the run file, without its environment.
        overrides: flags given beside it, as upstream would be given them: name -> one text or several.
        environment: the run file's environment map.
        processes: processes of the run.
        engine: DeepSpeed settings of accelerate's configuration, where the run has one.
        nodes: machines that the processes are spread over.
        launcher: accelerate's launcher for several machines under DeepSpeed; None without such a configuration.
        left_out: what accelerate's configuration holds and accelerate will not use; empty for nothing.
    """

    file: Path | None
    method: Method | None
    values: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    processes: int = 1
    engine: Any = None
    nodes: int = 1
    launcher: str | None = None
    left_out: str = ""

    @property
    def given(self) -> dict[str, Any]:
        """Every key that was set, flags above the file."""
        return {**self.values, **self.overrides}

    def list_of(self, name: str) -> list[str]:
        """The values of a key that takes several, as texts; nothing given is an empty list."""
        value = self.given.get(name)
        if value is None:
            return []
        return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def read_flags(argv: Sequence[str]) -> dict[str, Any]:
    """`--name value ...` and `--name=value` as a mapping; several values are a list, none is the text `true`.

    Raises:
        ValueError: a value without a flag before it.
    """
    flags: dict[str, Any] = {}
    name = None
    for text in argv:
        if text.startswith("--"):
            name, sign, value = text[2:].partition("=")
            flags[name] = [value] if sign else []
        elif name is None:
            raise ValueError(f"unexpected {text!r}: one run file, then flags of the run such as --model PATH")
        else:
            flags[name].append(text)
    return {key: values[0] if len(values) == 1 else values or "true" for key, values in flags.items()}


def read_run(
    path: Path | None, flags: Sequence[str], method: str | None, processes: int | None, accelerate: Path | None = None
) -> Run:
    """The run that a run file, flags, the environment and a configuration of accelerate make together.

    Raises:
        ValueError: no such file, not a YAML or JSON mapping, an unknown method, or a bad number of processes.
    """
    values, header = ({}, "") if path is None else _read_file(path)
    environment: dict[str, str] = {}
    for key in ENVIRONMENT_KEYS:
        found = values.pop(key, None) or {}
        if not isinstance(found, dict):
            raise ValueError(f"{path}: {key} must be a mapping of variables, found {found!r}")
        environment |= {str(name): str(value) for name, value in found.items()}
        for name, value in environment.items():
            _check_variable(f"{path}: {key}", name, value)
    overrides = read_flags(flags)
    given = {**values, **overrides}
    kind = named(method) if method else detect(given, {**os.environ, **environment}, header)
    per_node, nodes = (_whole_number(name, environment) for name in ("NPROC_PER_NODE", "NNODES"))
    started, engine, launcher, left_out = per_node * nodes, None, None, ""
    if accelerate is not None:
        started, nodes, engine = read_accelerate(accelerate)
        launcher, left_out = read_launcher(accelerate), read_left_out(accelerate)
    return Run(path, kind, values, overrides, environment, processes or started, engine, nodes, launcher, left_out)


def _check_variable(where: str, name: str, value: str) -> None:
    """Refuses what no environment can hold."""
    lone = any("\ud800" <= letter <= "\udfff" for letter in name + value)
    if not name or "=" in name or "\0" in name + value or lone:
        raise ValueError(f"{where}: no variable of an environment: {name!r:.60} with the value {value!r:.60}")


def read_accelerate(path: Path) -> tuple[int, int, Any]:
    """Processes, machines, and DeepSpeed's settings, of a file for `accelerate launch --config_file`.

    FSDP that shards everything is told as ZeRO-3, which divides the same things among the processes.

    Raises:
        ValueError: no such file, or no mapping.
    """
    values, _ = _read_file(path)
    engine = None
    if values.get("distributed_type") == "DEEPSPEED":
        config = _section(path, values, "deepspeed_config")
        engine = config.get("deepspeed_config_file") or config
    elif values.get("distributed_type") == "FSDP":
        config = _section(path, values, "fsdp_config")
        whole = str(config.get("fsdp_reshard_after_forward", config.get("fsdp_sharding_strategy", "true"))).upper()
        engine = {"zero_stage": 3 if whole in ("TRUE", "FULL_SHARD", "1") else 2}
    return _count(path, values, "num_processes"), _count(path, values, "num_machines"), engine


def read_launcher(path: Path) -> str | None:
    """How `accelerate launch` would start several machines under DeepSpeed, `pdsh` by default; None without DeepSpeed."""
    values, _ = _read_file(path)
    if values.get("distributed_type") != "DEEPSPEED":
        return None
    return _section(path, values, "deepspeed_config").get("deepspeed_multinode_launcher") or "pdsh"


def read_left_out(path: Path) -> str:
    """What accelerate leaves out of a configuration and says nothing of: an engine that is not the file's `distributed_type`,
    or FSDP on the CPUs that `use_cpu` asks for.
    """
    values, _ = _read_file(path)
    kind = values.get("distributed_type")
    if values.get("use_cpu") and kind == "FSDP":
        return f"distributed_type {kind} with use_cpu: true"
    for name, engine in (("deepspeed_config", "DEEPSPEED"), ("fsdp_config", "FSDP")):
        if values.get(name) and kind != engine:
            return f"{name} with distributed_type {kind}"
    return ""


def _section(path: Path, values: dict[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name) or {}
    if not isinstance(found, dict):
        raise ValueError(f"{path}: {name} must be a mapping, found {found!r:.60}")
    return found


def _count(path: Path, values: dict[str, Any], name: str) -> int:
    found = values.get(name, 1)
    if not str(found).isdecimal() or int(found) < 1:
        raise ValueError(f"{path}: {name} must be a whole number of at least 1, found {found!r:.60}")
    return int(found)


def _read_file(path: Path) -> tuple[dict[str, Any], str]:
    if not path.is_file():
        raise ValueError(f"no run file {path}")
    return read_mapping(path), "\n".join(
        line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")
    )


def _whole_number(name: str, environment: dict[str, str]) -> int:
    text = {**environment, **os.environ}.get(name, "1")
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{name} is {text!r}: a whole number of at least 1 is valid")
    return int(text)


def _of_model_kwargs(text: str) -> dict[str, str]:
    """The variables that ms-swift makes of `model_kwargs`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"model_kwargs: not JSON: {error}: {text!r:.60}") from error
    if not isinstance(found, dict):
        raise ValueError(f"model_kwargs must be an object of JSON, found {text!r:.60}")
    variables = {name.upper(): str(value) for name, value in found.items()}
    for name, value in variables.items():
        _check_variable("model_kwargs", name, value)
    return variables


@contextmanager
def environment_of(run: Run) -> Iterator[None]:
    """Inside, environment and command line are those that the trainer's process would see; afterwards as before.

    ms-swift lets the shell win over the run file and `model_kwargs` win over both; TRL lets the run file win.
    """
    saved, argv = dict(os.environ), sys.argv
    sys.argv = ["doctor"]
    try:
        if run.method is not None and run.method.upstream == "trl":
            os.environ.update(run.environment)
        else:
            for name, value in run.environment.items():
                os.environ.setdefault(name, value)
            if run.file is not None:
                os.environ["SWIFT_CONFIG_FILE"] = str(run.file)
            if (kwargs := run.given.get("model_kwargs")) is not None:
                text = kwargs if isinstance(kwargs, str) else json.dumps(kwargs)
                os.environ.update(_of_model_kwargs(text))
                sys.argv += ["--model_kwargs", text]
        yield
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(saved)
