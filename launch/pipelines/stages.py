"""Stages of a long run on top of doit: which are done, which a changed setting redoes, and how a killed one continues.

doit orders the stages; whether one is done is decided by its manifest alone, `OUT/manifests/<stage>.json`, written
atomically after the stage ended well. It holds what decides the stage's result (`identity`), the results of the stages
that it reads, and digests of its own. A stage is redone exactly when one of the three no longer fits what is there, and
then from nothing: all that it wrote before is given up, after one line that says what and why.
"""

import os
import resource
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets_builders.io import read_object, write_json
from datasets_builders.progress import about
from launch.common.processes import Guarded, Lease, end, start, wait
from swift_ext import PREFIXES

from .identity import difference, path_digest, places_inside, settings_of, versions

HEARTBEAT_SECONDS = 20


@dataclass
class Command:
    """One upstream or pack command line, with the settings that travel by environment."""

    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    def printable(self) -> str:
        """As a person would type it."""
        settings = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*settings, shlex.join(self.argv)])

    def executable(self) -> list[str]:
        """`swift` and `python` resolve to those of the running environment, whatever PATH says."""
        bin_folder = Path(sys.executable).parent
        if self.argv[0] == "python":
            return [sys.executable, *self.argv[1:]]
        local = bin_folder / self.argv[0]
        return [str(local) if local.exists() else self.argv[0], *self.argv[1:]]


@dataclass
class Resumed:
    """A training command that goes on from the newest complete checkpoint of its folder.

    Attributes:
        plain: the command of a start from nothing.
        latest: the checkpoint to go on from, None where there is none.
    """

    plain: Command
    latest: Callable[[], Path | None]

    def now(self) -> Command:
        """The command for what is there at this moment."""
        checkpoint = self.latest()
        if checkpoint is None:
            return self.plain
        return Command([*self.plain.argv, "--resume_from_checkpoint", str(checkpoint)], self.plain.environment)


@dataclass
class Stage:
    """A unit of work.

    Attributes:
        name: unique; file names derive from it.
        title: what the display calls it.
        commands: run in order.
        outputs: every file or folder that the stage writes. They are its own: nothing else may lie there.
        results: the parts of the outputs that later stages read, and that tell whether the stage is done; default all.
        after: names of stages that must be done before; those whose outputs the commands name are added by the runner.
        resumable: what an interrupted start left is kept when it is started again under the same settings.
        settings: what decides the result and stands in no command.
    """

    name: str
    title: str
    commands: Sequence[Command | Resumed]
    outputs: Sequence[Path]
    after: Sequence[str] = ()
    resumable: bool = False
    settings: dict = field(default_factory=dict)
    results: Sequence[Path] = ()

    def __post_init__(self):
        self.results = self.results or self.outputs


@dataclass
class Plan:
    """What a start would do with a stage.

    Attributes:
        does: `done` (nothing), `continue`, `start`, or `again` (from nothing, giving up what is there).
        why: for `again`, in words.
    """

    does: str
    why: str = ""


class StageRunner:
    """Runs stages in `folder`, skipping what is done.

    Args:
        lease: held by what a stage starts as well.
        processes: stages that run at a time. Of several, one that fails stops only those that read it.

    Raises:
        ValueError: where a stage would write lies something that no stage of this run has made.
    """

    def __init__(
        self,
        folder: Path,
        stages: Sequence[Stage],
        environment: dict[str, str],
        lease: Lease | None = None,
        processes: int = 1,
    ):
        self.folder, self.stages, self.environment = folder, list(stages), environment
        self.lease, self.processes = lease, processes
        self._reaping, self._running, self._stopping = threading.Lock(), set[Guarded](), False
        self.by_name = {stage.name: stage for stage in stages}
        assert len(self.by_name) == len(stages), "stage names must be unique"
        for stage in stages:
            stage.after = list(dict.fromkeys([*stage.after, *self._read_by(stage)]))
        self.started = time.monotonic()
        self.versions = versions()

    def manifest_path(self, stage: Stage) -> Path:
        return self.folder / "manifests" / f"{stage.name}.json"

    def started_path(self, stage: Stage) -> Path:
        return self.folder / "manifests" / f"{stage.name}.started.json"

    def _manifest(self, stage: Stage) -> dict | None:
        return _read(self.manifest_path(stage))

    def costs(self) -> dict[str, dict]:
        """Name -> `seconds` that passed, `cpu_seconds` of all its processes and `began` (Unix time), of what is done."""
        manifests = {stage.name: self._manifest(stage) for stage in self.stages}
        wanted = ("seconds", "cpu_seconds", "began")
        return {name: {key: found[key] for key in wanted} for name, found in manifests.items() if found}

    def _read_by(self, stage: Stage) -> list[str]:
        """Names of the stages in whose outputs lies a path that the commands name, or whose outputs lie below it."""
        commands = [command.plain if isinstance(command, Resumed) else command for command in stage.commands]
        places = [p for command in commands for p in places_inside(command.argv, command.environment, self.folder)]
        return [
            other.name
            for other in self.stages
            if other is not stage
            and any(p.is_relative_to(o) or o.is_relative_to(p) for p in places for o in other.outputs)
        ]

    def _command_settings(self, stage: Stage) -> dict[str, str]:
        settings: dict[str, str] = {}
        for number, command in enumerate(stage.commands):
            plain = command.plain if isinstance(command, Resumed) else command
            prefix = f"{number + 1}. " if len(stage.commands) > 1 else ""
            found = settings_of(plain.argv, plain.environment, self.folder)
            settings |= {prefix + name: value for name, value in found.items()}
        return settings

    def signature(self, stage: Stage) -> dict:
        """What the stage's result depends on: `settings`, by name, and `inputs`, the results of the stages before it."""
        settings = {f"version of {name}": version for name, version in self.versions.items()}
        settings |= {name: str(value) for name, value in stage.settings.items()}
        settings |= self._command_settings(stage)
        inputs = {}
        for name in stage.after:
            manifest = self._manifest(self.by_name[name])
            inputs[name] = manifest["outputs"] if manifest else None
        return {"settings": settings, "inputs": inputs}

    def plan(self, stage: Stage) -> Plan:
        """What a start would do now.

        Raises:
            ValueError: something lies where the stage writes, and no stage has made it.
        """
        signature, manifest, begun = self.signature(stage), self._manifest(stage), _read(self.started_path(stage))
        there = [path for path in stage.outputs if path.exists() or path.is_symlink()]
        if manifest is not None:
            if why := _changes(manifest, signature):
                return Plan("again", why)
            found = self._digests(stage)
            if manifest["outputs"] == found:
                return Plan("done")
            names = [name for name in found if manifest["outputs"].get(name) != found[name]]
            lost = [name for name in names if found[name] is None]
            return Plan(
                "again", f"{', '.join(lost or names)} {'is missing' if lost else 'is not what the stage wrote'}"
            )
        if begun is not None and there:
            if why := _changes(begun, signature):
                return Plan("again", why)
            return Plan("continue") if stage.resumable else Plan("again", "an earlier start was interrupted")
        if there:
            raise ValueError(
                f"{there[0]} is in the way: no stage of this run has made it; move it, or name another --out"
            )
        return Plan("start")

    def is_done(self, stage: Stage) -> bool:
        return self.plan(stage).does == "done"

    def _digests(self, stage: Stage) -> dict[str, str | None]:
        return {str(p.relative_to(self.folder)): path_digest(p) if p.exists() else None for p in stage.results}

    def _prepare(self, stage: Stage, head: str) -> None:
        """Removes what the stage wrote under other settings; keeps what an interrupted start under the same ones left."""
        plan = self.plan(stage)
        assert plan.does != "done"
        there = [path for path in stage.outputs if path.exists() or path.is_symlink()]
        if plan.does == "again" and there:
            names = ", ".join(str(path.relative_to(self.folder)) for path in there)
            print(f"{head}: starts from nothing, {names} of before is given up: {plan.why}", flush=True)
            for path in there:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        # The marker first: a kill between the two leaves outputs that are known to be this stage's.
        write_json(self.started_path(stage), self.signature(stage))
        self.manifest_path(stage).unlink(missing_ok=True)

    def print_plan(self, notes: Mapping[str, str] | None = None) -> None:
        """Each stage with its command lines, its note, and what a start would do with what is there."""
        moved: set[str] = set()  # stages whose result may become another one
        for number, stage in enumerate(self.stages, 1):
            plan, read = self.plan(stage), sorted(moved.intersection(stage.after))
            said = {"done": "already done", "continue": "goes on from what is there", "start": ""}.get(plan.does)
            if plan.does == "again":
                there = [str(path.relative_to(self.folder)) for path in stage.outputs if path.exists()]
                said = f"starts from nothing, {', '.join(there) or 'nothing'} of before is given up: {plan.why}"
            elif read and plan.does != "start":
                said += f"; again from nothing if the result of {', '.join(map(repr, read))} changes"
            if plan.does == "again" or read:
                moved.add(stage.name)
            note = f" ({notes[stage.name]})" if notes and stage.name in notes else ""
            print(f"[{number}/{len(self.stages)}] {stage.title}{note}{': ' if said else ''}{said}")
            for command in stage.commands:
                if isinstance(command, Resumed):
                    command = command.now() if plan.does == "continue" else command.plain
                print(f"    {command.printable()}")

    def run_stage(self, stage: Stage) -> bool:
        """True when every command succeeded and every output is there; the manifest is written last."""
        number = self.stages.index(stage) + 1
        head = f"[{number}/{len(self.stages)}] {stage.title}"
        self._prepare(stage, head)
        begun, began, cpu_seconds = time.monotonic(), time.time(), 0.0
        log = self.folder / "logs" / f"{stage.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        for entry in stage.commands:
            command = entry.now() if isinstance(entry, Resumed) else entry
            print(f"{head}: started\n    {command.printable()}", flush=True)
            code, spent = self._execute(command, log, head, begun)
            cpu_seconds += spent
            if code != 0:
                tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
                print(f"{head}: FAILED with exit code {code}; last lines of {log}:\n{tail}", flush=True)
                return False
        outputs = self._digests(stage)
        missing = [name for name, digest in outputs.items() if digest is None]
        if missing:
            print(f"{head}: FAILED, it left no {missing} (log: {log})", flush=True)
            return False
        seconds = time.monotonic() - begun
        costs = {"seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1), "began": round(began, 1)}
        write_json(self.manifest_path(stage), {**self.signature(stage), "outputs": outputs, **costs})
        total = time.monotonic() - self.started
        print(f"{head}: done in {_clock(seconds)} (all: {_clock(total)}{self._ahead()})", flush=True)
        return True

    def _ahead(self) -> str:
        """What is left if the other stages take as long as those that are done did on average."""
        taken = [found.get("seconds", 0.0) for stage in self.stages if (found := self._manifest(stage))]
        if not taken or len(taken) >= len(self.stages):
            return ""
        rest = sum(taken) / len(taken) * (len(self.stages) - len(taken)) / self.processes
        return f"; {len(self.stages) - len(taken)} stages ahead, {about(rest)} at this pace"

    def _execute(self, command: Command, log: Path, head: str, begun: float) -> tuple[int, float]:
        """Exit status, and the CPU seconds of the command and all that it started."""
        # A plugin reads its settings from the environment: those of the shell stand in no signature, so none comes along.
        shell = {
            name: value for name, value in os.environ.items() if not name.upper().startswith(tuple(PREFIXES.values()))
        }
        environment = {**shell, **self.environment, **command.environment}
        with log.open("ab") as handle:
            handle.write(f"$ {command.printable()}\n".encode())
            handle.flush()
            process = start(command.executable(), self.lease, stdout=handle, stderr=subprocess.STDOUT, env=environment)
            self._running.add(process)
            try:
                said, spent = time.monotonic(), 0.0
                while True:
                    with self._reaping:  # the system counts for all children at once, when each is waited for
                        before = _cpu_of_children()
                        ended = self._stopping or process.poll() is not None
                        spent += _cpu_of_children() - before
                    if ended:
                        end(process)  # what a stop finds still running
                        break
                    time.sleep(0.2)
                    if sys.stdout.isatty() and self.processes == 1:
                        print(
                            f"\r{head}: {_clock(time.monotonic() - begun)} {_progress(log)}\x1b[K", end="", flush=True
                        )
                    elif time.monotonic() - said > HEARTBEAT_SECONDS:
                        said = time.monotonic()
                        print(f"{head}: {_clock(said - begun)} {_progress(log)}", flush=True)
            except BaseException:
                end(process)
                raise
            finally:
                self._running.discard(process)
        if sys.stdout.isatty() and self.processes == 1:
            print("\r\x1b[K", end="")
        return wait(process), spent

    def run(self) -> int:
        """0 when every stage is done in the end, 1 at the first that fails.

        Raises:
            ValueError: see `plan`; nothing was run.
        """
        for stage in self.stages:
            self.plan(stage)
        from doit.cmd_base import ModuleTaskLoader
        from doit.doit_cmd import DoitMain

        failed: list[str] = []

        def action(stage: Stage) -> bool:
            ok = self.run_stage(stage)
            if not ok:
                failed.append(stage.name)
            return ok

        def up_to_date(stage: Stage) -> bool:
            if not self.is_done(stage):
                return False
            print(f"[{self.stages.index(stage) + 1}/{len(self.stages)}] {stage.title}: already done", flush=True)
            return True

        def task_stage():
            for stage in self.stages:
                yield {
                    "name": stage.name,
                    "actions": [(action, [stage])],
                    "task_dep": [f"stage:{name}" for name in stage.after],
                    "uptodate": [lambda stage=stage: up_to_date(stage)],
                    "verbosity": 2,
                }

        # doit's own record is not used: the manifests decide, and a record torn by a kill would stop the next start.
        record = self.folder / ".doit.json"
        record.unlink(missing_ok=True)
        settings = {"dep_file": str(record), "backend": "json", "reporter": "zero", "verbosity": 2}
        if self.processes > 1:
            settings |= {"num_process": self.processes, "par_type": "thread", "continue": True}
        try:
            code = DoitMain(ModuleTaskLoader({"task_stage": task_stage, "DOIT_CONFIG": settings})).run(["run"])
        except BaseException:
            self._stopping = True  # doit leaves its threads alone
            running = list(self._running)
            for process in running:  # all at once: each may take its time to end
                process.terminate()
            for process in running:
                end(process)
            raise
        return 1 if failed else code


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _read(path: Path) -> dict | None:
    return read_object(path) if path.is_file() else None


def _changes(before: dict, now: dict) -> str:
    """In words, what of a signature differs; empty where nothing does."""
    if not isinstance(before["settings"], dict):
        return "it was made by an earlier version of this pipeline"
    parts = [difference(before["settings"], now["settings"])]
    parts += [
        f"the result of {name!r} changed"
        for name in sorted(before["inputs"].keys() | now["inputs"].keys())
        if before["inputs"].get(name) != now["inputs"].get(name)
    ]
    return "; ".join(part for part in parts if part)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}m{seconds:02d}s"


def _progress(log: Path) -> str:
    """The last piece of a progress bar or line that the stage wrote, short enough for one terminal line."""
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - 2000))
        pieces = handle.read().decode("utf-8", errors="replace").replace("\r", "\n").splitlines()
    return next((piece.strip()[:70] for piece in reversed(pieces) if piece.strip()), "")
