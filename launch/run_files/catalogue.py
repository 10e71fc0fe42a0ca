"""Every run file, accelerate, DeepSpeed and SLURM file of the pack, by what its own header and keys say."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from datasets_builders.choices import did_you_mean
from launch.common.header import header
from launch.common.installed import PACK
from launch.doctor.methods import detect

FOLDERS = ("accelerate", "deepspeed", "slurm")
SUFFIXES = (".yaml", ".json", ".sbatch", ".sh")


@dataclass(frozen=True)
class RunFile:
    """One file.

    Attributes:
        name: its folder and its own name: `modpo_trl/one_gpu`, `deepspeed/zero2`.
        path: where it is installed.
        method: the doctor's name of what a run file trains; `any` where it serves several.
        upstream: distribution that reads it; `any` for what ms-swift and TRL both take.
        purpose: what for.
        hardware: on what.
    """

    name: str
    path: Path
    method: str
    upstream: str
    purpose: str
    hardware: str

    @property
    def of_a_run(self) -> bool:
        """Whether it is a run file; otherwise one of accelerate, DeepSpeed or SLURM."""
        return self.name.partition("/")[0] not in FOLDERS


@cache
def shipped() -> dict[str, RunFile]:
    """Name -> file, those of a method beside each other and run files first."""
    runs = sorted((PACK / "launch" / "runs").glob("*/*.*"))
    others = [path for folder in FOLDERS for path in sorted((PACK / "launch" / folder).iterdir())]
    return {one.name: one for one in (_read(path) for path in [*runs, *others] if path.suffix in SUFFIXES)}


def _read(path: Path) -> RunFile:
    text, name = path.read_text(encoding="utf-8"), f"{path.parent.name}/{path.stem}"
    # JSON has no comments: what a DeepSpeed file is for says the file of accelerate that names it.
    fields = header(_user_of(path) if path.suffix == ".json" else text)
    method, upstream = "any", "any"
    if path.suffix == ".sh":  # a command line of an upstream that reads no run file, which it is called after
        method, upstream = path.parent.name, path.stem
    elif path.parent.name not in FOLDERS:
        from datasets_builders.yaml_file import read_mapping

        values = read_mapping(path)
        kind = detect(values, values.get("ENV") or {}, "\n".join(text.splitlines()))
        method, upstream = (kind.name, kind.upstream) if kind else ("any", "any")
    elif path.suffix != ".json":
        upstream = "ms-swift" if "swift rlhf" in text else "trl"
    purpose, hardware = (" ".join(fields.get(field, [])) for field in ("Purpose", "Hardware"))
    return RunFile(name, path, method, upstream, purpose, hardware)


def _user_of(path: Path) -> str:
    texts = (one.read_text(encoding="utf-8") for one in sorted((PACK / "launch" / "accelerate").iterdir()))
    return next((text for text in texts if f"launch/{path.parent.name}/{path.name}" in text), "")


def find(name: str) -> RunFile:
    """The file of a name: as `runs list` prints it, as a page writes its path, or its last part where that is unique.

    Raises:
        ValueError: no such file, or several; the nearest names are offered.
    """
    files = shipped()
    short = name.removeprefix("launch/").removeprefix("runs/")
    for suffix in SUFFIXES:
        short = short.removesuffix(suffix)
    if short in files:
        return files[short]
    same = [one for one in files if one.partition("/")[2] == short]
    if len(same) == 1:
        return files[same[0]]
    if same:
        raise ValueError(f"{name!r} is the name of {len(same)} files: {', '.join(same)}")
    raise ValueError(f"no run file {name!r}{did_you_mean(short, files)}; `python -m launch runs list` prints all")
