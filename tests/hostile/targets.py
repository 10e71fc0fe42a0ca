"""Every reader and every verb that reads rows and needs no model, each as a function of one path."""

import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.hostile.documents import DOCUMENTS
from tests.hostile.rows import FAMILIES


class Target(NamedTuple):
    """Something that reads a file.

    Attributes:
        name: of the reader or the command.
        families: those of `rows.FAMILIES` or `documents.DOCUMENTS` that it can read, or a beginning of their names that ends with a colon.
        run: (source, empty folder for outputs) -> exit code of a command, None of a reader.
        passes_over: it may take what no reader may take: it goes on behind a line that holds no row, or knows the file by
            another name.
        ends: exit codes of a command that did its work.
    """

    name: str
    families: tuple[str, ...]
    run: Callable[[Path, Path], int | None]
    passes_over: bool = False
    ends: tuple[int, ...] = (0,)

    def reads(self, family: str) -> bool:
        """Whether sound rows of this family are what it reads."""
        return family in self.families or family.split(": ")[0] + ": " in self.families


class Command:
    """A command line, in which SOURCE is the input, OUT a file, FOLDER a folder, and GIVEN the folder made by `prepare`.

    Args:
        prepare: (source, folder) lays the input where the command expects it.
    """

    def __init__(self, package: str, *words: str, prepare: Callable[[Path, Path], None] | None = None) -> None:
        self.package, self.words, self.prepare = package, words, prepare

    def __call__(self, source: Path, folder: Path) -> int:
        from importlib import import_module

        given = given_folder(folder)
        if self.prepare is not None:
            self.prepare(source, given)
        places = {"SOURCE": source, "OUT": folder / "out.jsonl", "FOLDER": folder / "out", "GIVEN": given}
        words = [
            re.sub(r"\b(SOURCE|OUT|FOLDER|GIVEN)\b", lambda found: str(places[found[0]]), word) for word in self.words
        ]
        return import_module(f"{self.package}.__main__").main(words)


def given_folder(folder: Path) -> Path:
    """Where the input of a command lies whose outputs go to `folder`."""
    return folder.with_name(f"{folder.name}-given")


def _laid(place: str, *sound: tuple[str, str]) -> Callable[[Path, Path], None]:
    """Lays the input at `place`, and sound rows of a family at other places."""

    def prepare(source: Path, given: Path) -> None:
        for path, family in sound:
            write(given / path, FAMILIES[family])
        (given / place).parent.mkdir(parents=True, exist_ok=True)
        (given / place).symlink_to(source)

    def write(path: Path, rows: list) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    return prepare


def _reader(module: str, name: str, *arguments: Any, each: bool = False) -> Callable[[Path, Path], None]:
    """Calls `module.name(source, *arguments)`; `each`: what it returns is read to its end."""

    def run(source: Path, folder: Path) -> None:
        from importlib import import_module

        found = getattr(import_module(module), name)(str(source), *arguments)
        if each:
            for _ in found:
                pass

    return run


def _judge_pairs(orders: str, source: Path, folder: Path) -> None:
    from datasets_builders.judging.prompt import PairwisePrompt
    from launch.judge.inputs import read_pairs

    read_pairs(source, PairwisePrompt(), orders)


def _path_reader(module: str, name: str, source: Path, folder: Path) -> None:
    from importlib import import_module

    getattr(import_module(module), name)(source)


def _d2po_rows(source: Path, folder: Path) -> None:
    from datasets_builders.files.find import split_files
    from datasets_builders.files.read import read_file
    from trl_ext.online_dpo.prompts import prompts_and_columns

    for files in split_files(source).values():
        for file in files:
            prompts_and_columns(read_file(file))


def _doctor_rows(source: Path, folder: Path) -> None:
    from launch.doctor.rows import count_faults, trl_pair_fault

    count_faults(str(source), trl_pair_fault, None)


def _pipeline(source: Path, folder: Path) -> None:
    from launch.pipelines.read_config import load_config

    load_config(["--out", str(folder), "--config", str(source)])


def _study(source: Path, folder: Path) -> None:
    from datasets_builders.yaml_file import read_mapping
    from launch.tune.run_file import margin_specs
    from launch.tune.settings import make_settings

    settings = make_settings({"study_name": "s", "output_root": str(folder), "config": str(source)})
    margin_specs(settings, read_mapping(source))


def _doctor_run(source: Path, folder: Path) -> None:
    from launch.doctor.run_file import environment_of, read_run

    with environment_of(read_run(source, [], None, None)):
        pass


def _accelerate(source: Path, folder: Path) -> None:
    from launch.doctor.run_file import read_accelerate, read_launcher

    read_accelerate(source)
    read_launcher(source)


def _builder(source: Path, folder: Path) -> None:
    from datasets_builders.__main__ import make_parser
    from datasets_builders.judging.settings import read_settings

    read_settings(make_parser("helpsteer2-pairwise").parse_args(["--config", str(source)]))


def _plugin(source: Path, folder: Path) -> None:
    from swift_ext.settings import refuse_leftovers

    before = os.environ.get("SWIFT_CONFIG_FILE")
    os.environ["SWIFT_CONFIG_FILE"] = str(source)
    try:
        refuse_leftovers("MODPO_")
    finally:
        os.environ.pop("SWIFT_CONFIG_FILE")
        if before is not None:
            os.environ["SWIFT_CONFIG_FILE"] = before


_BUILD = ("--format", "trl", "--out", "OUT", "--source", "SOURCE")
_RATED = ("helpsteer", "--attribute", "helpfulness", "--split", "train")
_PREFERENCE = ("anthropic_hh", "ultrafeedback", "beavertails", "summarize_from_feedback")
_SHARD = "00001-of-00001.jsonl"
_SCORED = (("scores/a.jsonl", "scores"), ("scores/b.jsonl", "scores"))
_REPORT = (
    *("launch", "report", "--scores", "GIVEN/scores", "--labels", "a", "b", "--reference", "a", "--x", "x", "--y", "y"),
    *("--resamples", "100", "--out", "FOLDER"),
)
_CONFLICTS = {"helpsteer": "helpsteer", "ultrafeedback": "ultrafeedback", "safe_rlhf": "beavertails", "pairs": "pair: "}
TARGETS = [
    Target("builder helpsteer", ("helpsteer",), Command("datasets_builders", *_RATED, *_BUILD)),
    Target("builder pairs", ("pair: ",), Command("datasets_builders", "pairs", *_BUILD)),
    Target(
        "builder helpsteer2-pairwise",
        ("helpsteer2",),
        Command("datasets_builders", "helpsteer2-pairwise", "--path", "SOURCE", "--output_dir", "FOLDER"),
    ),
    *(
        Target(
            f"builder preference {name}",
            (name,),
            Command("datasets_builders", "preference", "--dataset", name, "--split", "all", *_BUILD),
        )
        for name in _PREFERENCE
    ),
    *(
        Target(
            f"builder pointwise {name}",
            (name,),
            Command(
                *("datasets_builders", "pointwise", "--dataset", name, "--split", "train", "--prompt", prompt),
                *("--out", "OUT", "--source", "SOURCE"),
            ),
        )
        for name, prompt in (("anthropic_hh", "hh_score100_v1"), ("summarize_from_feedback", "score100_v1"))
    ),
    Target("check-pairs", ("pair: ",), Command("launch", "check-pairs", "--pairs", "SOURCE", "--out", "OUT")),
    Target("check-pairs --sft", ("pair: ",), Command("launch", "check-pairs", "--pairs", "SOURCE", "--out", "OUT", "--sft")),
    Target("label --pairs", ("pair: ",), Command("launch", "label", "--pairs", "SOURCE", "--function", "brevity", "--out", "OUT")),
    Target("label --samples", ("generations",), Command("launch", "label", "--samples", "SOURCE", "--function", "brevity", "--out", "OUT")),
    *(
        Target(
            f"conflicts {style}",
            (family,),
            Command("launch", "conflicts", "--data", "SOURCE", "--style", style, "--resamples", "10", "--out", "FOLDER"),
        )
        for style, family in _CONFLICTS.items()
    ),
    Target("prompts of generate", ("prompt: ", "pair: "), _reader("launch.answers.prompts", "read_prompts")),
    Target("questions", ("prompt: ", "pair: "), _reader("launch.answers.checkpoint_answers", "read_questions")),
    Target("answers", ("answers",), lambda source, _: _answers(source)),
    Target("prompts of MOODPO", ("prompt: ",), _reader("trl_ext.online_dpo.prompts", "read_prompts", "prompt")),
    Target("rows of D2PO", ("prompt: ",), _d2po_rows),
    Target("first pairs", ("pair: ",), _reader("trl_ext.d2po.first_pairs", "read_first_pairs", "bt")),
    Target("eval-rm", ("pair: ",), _reader("launch.scores.eval_rm", "read_preference", each=True)),
    Target("check-margin", ("pair: ",), _reader("launch.scores.check_margin", "read_pairs")),
    Target("judge", ("judge", "pair: "), partial(_judge_pairs, "both")),
    Target("judge, original order", ("helpsteer2",), partial(_judge_pairs, "original")),
    Target("verdicts", ("verdicts",), partial(_path_reader, "launch.judge.verdicts", "read_verdicts")),
    Target("scored pairs", ("scored pairs",), partial(_path_reader, "launch.bt.judge", "read_pair_records")),
    Target(
        "validate-eval-set",
        ("generations",),
        Command("launch", "validate-eval-set", "GIVEN/a", "GIVEN/b", "--report", "FOLDER.json", prepare=_laid(f"b/{_SHARD}", (f"a/{_SHARD}", "generations"))),
        passes_over=True,
        ends=(0, 1),
    ),
    Target(
        "compare-runs",
        ("scores",),
        Command(
            *("launch", "compare-runs", "--old", "GIVEN/old", "--new", "GIVEN/new", "--reference", "r", "--resamples", "100"),
            *("--max_unpaired_share", "1", "--out", "FOLDER"),
            prepare=_laid("new/a.jsonl", ("old/a.jsonl", "scores"), ("old/r.jsonl", "scores"), ("new/r.jsonl", "scores")),
        ),
        passes_over=True,
    ),
    Target("conflicts --scores", ("scores",), Command("launch", "conflicts", "--scores", "GIVEN/a.jsonl", "GIVEN/b.jsonl", "--resamples", "100", "--out", "FOLDER", prepare=_laid("b.jsonl", ("a.jsonl", "scores"))), passes_over=True),
    Target("report", ("scores",), Command(*_REPORT, prepare=_laid("scores/b.jsonl", ("scores/a.jsonl", "scores"))), passes_over=True),
    Target(
        "report --gens",
        ("generations",),
        Command(
            *(*_REPORT, "--gens", "GIVEN/gens"),
            prepare=_laid(f"gens/b/{_SHARD}", *_SCORED, (f"gens/a/{_SHARD}", "generations")),
        ),
        passes_over=True,
    ),
    Target("report, units", ("json: units",), Command(*_REPORT, prepare=_laid("scores/score.json", *_SCORED)), passes_over=True),
    Target(
        "label-curve",
        ("json: trainer state",),
        Command("launch", "label-curve", "--run", "a=GIVEN/run", "--out", "FOLDER.png", prepare=_laid("run/trainer_state.json")),
    ),
    Target(
        "paper-report",
        tuple(name for name in DOCUMENTS if name.startswith("json: ")),
        Command("launch", "paper-report", "GIVEN", "--out", "FOLDER.html", prepare=_laid("result.json")),
        passes_over=True,
    ),
    Target("teacher-sft", ("teacher",), Command("datasets_builders", "teacher-sft", "--input", "SOURCE", "--prompt", "hh_score100_v1", "--out", "OUT")),
    Target("pipeline", ("yaml: pipeline",), _pipeline, passes_over=True),
    Target("run file of a study", ("yaml: run file",), _study),
    Target("space of a study", ("yaml: space",), partial(_path_reader, "launch.tune.space", "read_space")),
    Target("run file of the doctor", ("yaml: run file", "yaml: pipeline"), _doctor_run, passes_over=True),
    Target("configuration of accelerate", ("yaml: accelerate",), _accelerate, passes_over=True),
    Target("settings of the judge reward", ("yaml: judge",), partial(_path_reader, "launch.judge.reward_settings", "read_settings")),
    Target("settings of a builder", ("yaml: builder",), _builder, passes_over=True),
    Target("run file of a plugin", ("yaml: run file",), _plugin, passes_over=True),
    Target("doctor", ("pair: ",), _doctor_rows, passes_over=True),
]  # fmt: skip


def _answers(source: Path) -> None:
    from launch.answers.checkpoint_answers import read_answers

    read_answers([source])
