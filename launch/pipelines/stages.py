"""Stages of a long run on top of doit: which are done, which a changed setting redoes, and how a killed one continues.

doit orders the stages; whether one is done is decided by its manifest alone, `OUT/manifests/<stage>.json`, written
atomically after the stage ended well. It holds digests of the stage's settings, of its inputs (the outputs of the
stages before it) and of its outputs. A stage is redone exactly when one of the three no longer fits what is there.
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets_builders.io import write_json
from launch.processes import Lease, end, start, wait
from trl_ext.modpo.digest import weights_digest

HEARTBEAT_SECONDS = 20


def path_digest(path: Path) -> str:
    """Digest of a file's content, or of a folder's weights if it holds any, otherwise of all its files."""
    if path.is_file():
        return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    if any(child.suffix == ".safetensors" for child in path.iterdir()):
        return weights_digest(path)
    digest = hashlib.blake2b(digest_size=8)
    for child in sorted(path.rglob("*")):
        if child.is_file():
            digest.update(f"{child.relative_to(path)}:{path_digest(child)}".encode())
    return digest.hexdigest()


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
class Stage:
    """A unit of work.

    Attributes:
        name: unique; file names derive from it.
        title: what the display calls it.
        commands: run in order. A callable gets no argument and gives the command when the stage starts, for what is
            only known then (the checkpoint to resume from).
        outputs: files or folders that the stage leaves; removed before it starts under other settings than before.
        after: names of stages whose outputs this one reads.
        resumable: leaves its folder alone when it is started again under the same settings.
    """

    name: str
    title: str
    commands: Sequence[Command | Callable[[], Command]]
    outputs: Sequence[Path]
    after: Sequence[str] = ()
    resumable: bool = False
    settings: dict = field(default_factory=dict)


class StageRunner:
    """Runs stages in `folder`, skipping what is done."""

    def __init__(self, folder: Path, stages: Sequence[Stage], environment: dict[str, str], lease: Lease | None = None):
        self.folder, self.stages, self.environment = folder, list(stages), environment
        self.lease = lease  # held by what a stage starts as well
        self.by_name = {stage.name: stage for stage in stages}
        assert len(self.by_name) == len(stages), "stage names must be unique"
        self.started = time.monotonic()

    def manifest_path(self, stage: Stage) -> Path:
        return self.folder / "manifests" / f"{stage.name}.json"

    def _manifest(self, stage: Stage) -> dict | None:
        path = self.manifest_path(stage)
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def signature(self, stage: Stage) -> dict:
        """What the stage depends on: its settings and the outputs of the stages before it."""
        commands = [c.printable() for c in stage.commands if isinstance(c, Command)]
        settings = json.dumps([commands, stage.settings], sort_keys=True, default=str)
        inputs = {}
        for name in stage.after:
            manifest = self._manifest(self.by_name[name])
            inputs[name] = manifest["outputs"] if manifest else None
        return {"settings": hashlib.blake2b(settings.encode(), digest_size=8).hexdigest(), "inputs": inputs}

    def is_done(self, stage: Stage) -> bool:
        manifest = self._manifest(stage)
        if manifest is None or {key: manifest[key] for key in ("settings", "inputs")} != self.signature(stage):
            return False
        return manifest["outputs"] == self._output_digests(stage)

    def _output_digests(self, stage: Stage) -> dict[str, str | None]:
        return {str(p.relative_to(self.folder)): path_digest(p) if p.exists() else None for p in stage.outputs}

    def _prepare(self, stage: Stage) -> None:
        """Leftovers of other settings are removed; those of the same settings stay when the stage can continue."""
        marker = self.folder / "manifests" / f"{stage.name}.started.json"
        signature = self.signature(stage)
        same = marker.is_file() and json.loads(marker.read_text(encoding="utf-8")) == signature
        if not (same and stage.resumable):
            for output in stage.outputs:
                shutil.rmtree(output) if output.is_dir() and not output.is_symlink() else output.unlink(missing_ok=True)
        self.manifest_path(stage).unlink(missing_ok=True)
        write_json(marker, signature)

    def run_stage(self, stage: Stage) -> bool:
        """True when every command succeeded and every output is there; the manifest is written last."""
        number = self.stages.index(stage) + 1
        head = f"[{number}/{len(self.stages)}] {stage.title}"
        self._prepare(stage)
        begun = time.monotonic()
        log = self.folder / "logs" / f"{stage.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        for entry in stage.commands:
            command = entry() if callable(entry) else entry
            print(f"{head}: started\n    {command.printable()}", flush=True)
            code = self._execute(command, log, head, begun)
            if code != 0:
                tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
                print(f"{head}: FAILED with exit code {code}; last lines of {log}:\n{tail}", flush=True)
                return False
        outputs = self._output_digests(stage)
        missing = [name for name, digest in outputs.items() if digest is None]
        if missing:
            print(f"{head}: FAILED, it left no {missing} (log: {log})", flush=True)
            return False
        seconds = time.monotonic() - begun
        write_json(self.manifest_path(stage), {**self.signature(stage), "outputs": outputs, "seconds": round(seconds, 1)})
        total = time.monotonic() - self.started
        print(f"{head}: done in {_clock(seconds)} (all: {_clock(total)})", flush=True)
        return True

    def _execute(self, command: Command, log: Path, head: str, begun: float) -> int:
        environment = {**os.environ, **self.environment, **command.environment}
        with log.open("ab") as handle:
            handle.write(f"$ {command.printable()}\n".encode())
            handle.flush()
            process = start(command.executable(), self.lease, stdout=handle, stderr=subprocess.STDOUT, env=environment)
            try:
                said = time.monotonic()
                while process.poll() is None:
                    time.sleep(0.2)
                    if sys.stdout.isatty():
                        print(f"\r{head}: {_clock(time.monotonic() - begun)} {_progress(log)}\x1b[K", end="", flush=True)
                    elif time.monotonic() - said > HEARTBEAT_SECONDS:
                        said = time.monotonic()
                        print(f"{head}: {_clock(said - begun)} {_progress(log)}", flush=True)
            except BaseException:
                end(process)
                raise
        if sys.stdout.isatty():
            print("\r\x1b[K", end="")
        return wait(process)

    def run(self) -> int:
        """0 when every stage is done in the end, 1 at the first that fails."""
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
        code = DoitMain(ModuleTaskLoader({"task_stage": task_stage, "DOIT_CONFIG": settings})).run(["run"])
        return 1 if failed else code


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}m{seconds:02d}s"


def _progress(log: Path) -> str:
    """The last piece of a progress bar or line that the stage wrote, short enough for one terminal line."""
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - 2000))
        pieces = handle.read().decode("utf-8", errors="replace").replace("\r", "\n").splitlines()
    return next((piece.strip()[:70] for piece in reversed(pieces) if piece.strip()), "")
