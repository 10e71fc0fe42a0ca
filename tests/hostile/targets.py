"""Every reader and every verb that reads rows and needs no model, each as a function of one path."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple


class Target(NamedTuple):
    """Something that reads a file.

    Attributes:
        name: of the reader or the command.
        families: those of `rows.FAMILIES` that it can read, or a beginning of their names that ends with a colon.
        counts_bad_lines: it goes on behind a line that holds no row.
        run: (source, empty folder for outputs) -> exit code of a command, None of a reader.
    """

    name: str
    families: tuple[str, ...]
    run: Callable[[Path, Path], int | None]
    counts_bad_lines: bool = False

    def reads(self, family: str) -> bool:
        """Whether sound rows of this family are what it reads."""
        return family in self.families or family.split(": ")[0] + ": " in self.families


def _command(package: str, *words: str) -> Callable[[Path, Path], int]:
    def run(source: Path, folder: Path) -> int:
        from importlib import import_module

        places = {"SOURCE": str(source), "OUT": str(folder / "out.jsonl"), "FOLDER": str(folder / "out")}
        return import_module(f"{package}.__main__").main([places.get(word, word) for word in words])

    return run


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


_BUILD = ("--format", "trl", "--out", "OUT", "--source", "SOURCE")
_RATED = ("helpsteer", "--attribute", "helpfulness", "--split", "train")
_PREFERENCE = ("anthropic_hh", "ultrafeedback", "beavertails", "summarize_from_feedback")
_CONFLICTS = {"helpsteer": "helpsteer", "ultrafeedback": "ultrafeedback", "safe_rlhf": "beavertails", "pairs": "pair: "}
TARGETS = [
    Target("builder helpsteer", ("helpsteer",), _command("datasets_builders", *_RATED, *_BUILD)),
    Target("builder pairs", ("pair: ",), _command("datasets_builders", "pairs", *_BUILD)),
    Target(
        "builder helpsteer2-pairwise",
        ("helpsteer2",),
        _command("datasets_builders", "helpsteer2-pairwise", "--path", "SOURCE", "--output_dir", "FOLDER"),
    ),
    *(
        Target(
            f"builder preference {name}",
            (name,),
            _command("datasets_builders", "preference", "--dataset", name, "--split", "all", *_BUILD),
        )
        for name in _PREFERENCE
    ),
    *(
        Target(
            f"builder pointwise {name}",
            (name,),
            _command(
                *("datasets_builders", "pointwise", "--dataset", name, "--split", "train", "--prompt", prompt),
                *("--out", "OUT", "--source", "SOURCE"),
            ),
        )
        for name, prompt in (("anthropic_hh", "hh_score100_v1"), ("summarize_from_feedback", "score100_v1"))
    ),
    Target("check-pairs", ("pair: ",), _command("launch", "check-pairs", "--pairs", "SOURCE", "--out", "OUT")),
    Target("check-pairs --sft", ("pair: ",), _command("launch", "check-pairs", "--pairs", "SOURCE", "--out", "OUT", "--sft")),
    Target("label --pairs", ("pair: ",), _command("launch", "label", "--pairs", "SOURCE", "--function", "brevity", "--out", "OUT")),
    Target("label --samples", ("generations",), _command("launch", "label", "--samples", "SOURCE", "--function", "brevity", "--out", "OUT")),
    *(
        Target(
            f"conflicts {style}",
            (family,),
            _command("launch", "conflicts", "--data", "SOURCE", "--style", style, "--resamples", "10", "--out", "FOLDER"),
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
    Target("doctor", ("pair: ",), _doctor_rows, counts_bad_lines=True),
]  # fmt: skip


def _answers(source: Path) -> None:
    from launch.answers.checkpoint_answers import read_answers

    read_answers([source])
