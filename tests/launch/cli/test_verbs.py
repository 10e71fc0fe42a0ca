"""Every verb: help without a heavy import, misspelt flags, beginnings of flags and lost files are one line, never a traceback."""

import json
import re
import shlex
import subprocess
import sys
from importlib import import_module

import pytest

from datasets_builders.__main__ import BUILDERS
from datasets_builders.command_line import OLD_NAMES
from launch.__main__ import main, usage
from launch.cli.verbs import OLD_VERBS, PURPOSES, VERBS, current_verb
from tests.conftest import REPOSITORY

# What they do not know is a flag of another program.
PASS_ON = ("doctor", "precompute-margins", "sweep-bt")
# Nothing of these is imported before a command line has been read: `--help` of every verb takes less than half a second.
HEAVY = (
    "torch", "transformers", "swift", "trl", "peft", "datasets", "pandas", "scipy", "numpy", "matplotlib", "gradio", "openai",
    "accelerate", "safetensors", "huggingface_hub", "fastapi", "uvicorn", "optuna", "moocore", "requests", "httpx", "filelock",
    "asyncio", "yaml", "jinja2", "tqdm", "pyarrow", "pydantic",
)  # fmt: skip
# Their flags are the fields of a model.
OF_A_MODEL = ("helpsteer-modpo", "tune-modpo", "discriminator-server", "quickstart")


def parser_of(verb):
    return import_module(VERBS[verb].module).make_parser()


def outcome(capsys, *argv):
    try:
        code = main([str(text) for text in argv])
    except SystemExit as end:
        code = end.code
    return code, capsys.readouterr()


# Each verb in a fork of a process that has imported nothing: its own imports, without 35 interpreters.
HELP_OF_ALL = """
import json, os, sys
from importlib import import_module
heavy, (package, *names) = json.loads(sys.argv[1]), sys.argv[2:]
main = import_module(f"{package}.__main__").main
for name in names:
    if os.fork() == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            main([name, "--help"])
        except SystemExit as end:
            row = {"name": name, "code": end.code, "loaded": [one for one in heavy if one in sys.modules]}
            os.write(2, (json.dumps(row) + "\\n").encode())
        os._exit(0)
    os.wait()
"""


@pytest.mark.parametrize(("package", "names"), [("launch", VERBS), ("datasets_builders", BUILDERS)])
def test_help_loads_nothing_heavy(package, names):
    argv = [sys.executable, "-c", HELP_OF_ALL, json.dumps(HEAVY), package, *names]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True)
    rows = {row["name"]: row for row in map(json.loads, done.stderr.splitlines())}
    assert list(rows) == list(names)
    assert {name: row["code"] for name, row in rows.items() if row["code"]} == {}
    loaded = {name: {*row["loaded"]} - ({"pydantic"} if name in OF_A_MODEL else set()) for name, row in rows.items()}
    assert {name: found for name, found in loaded.items() if found} == {}


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_explained_and_the_example_is_taken(verb):
    parser = parser_of(verb)
    assert [action.option_strings for action in parser._actions if not action.help] == []
    flags = shlex.split(VERBS[verb].example)
    parser.parse_known_args(flags) if verb in PASS_ON else parser.parse_args(flags)
    text = " ".join(parser.format_help().split())
    assert "PydanticUndefined" not in text and f"example: python -m launch {verb} " in text
    said = {str(action.option_strings): parser._get_formatter()._expand_help(action) for action in parser._actions}
    assert {name: help for name, help in said.items() if help.count("default ") + help.count("default:") > 1} == {}


def long_flags(verb):
    parser = parser_of(verb)
    return [name for action in parser._actions for name in action.option_strings if len(name) > 4 and name != "--help"]


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in PASS_ON])
def test_a_misspelt_flag_gets_its_nearest_name(verb, capsys):
    """Also one that is required: `report --lables` is no missing --labels."""
    for flag in long_flags(verb):
        wrong = flag[:-2] + flag[-1] + flag[-2] if flag[-1] != flag[-2] else flag + "x"
        code, said = outcome(capsys, verb, wrong, "1")
        assert code == 2 and f"unknown option {wrong!r}; did you mean '--" in said.err, said.err
        assert said.err.count("\n") == 1 and "required" not in said.err


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in PASS_ON])
def test_the_beginning_of_a_flag_is_no_flag(verb, capsys):
    for flag in long_flags(verb):
        if flag[:-1] not in (known := long_flags(verb)):
            code, said = outcome(capsys, verb, flag[:-1], "1")
            assert code == 2 and "unknown option" in said.err and any(name in said.err for name in known)


READS_A_FILE = {
    "label": ["--samples", "FOLDER/gens", "--function", "brevity", "--out", "FOLDER/o.jsonl"],
    "steer-rows": ["--samples", "FOLDER/s", "--model", "FOLDER/m", "--out", "FOLDER/o.jsonl"],
    "helpsteer-modpo": ["--out", "FOLDER/o", "--config", "FOLDER/none.yaml"],
    "quickstart": ["--out", "FOLDER/o", "--config", "FOLDER/none.yaml"],
    "runs": ["show", "FOLDER/run"],
    "merge-lora": ["--adapter", "FOLDER/a", "--out", "FOLDER/o"],
    "merge-rm": ["--adapter", "FOLDER/a", "--out", "FOLDER/o"],
    "soup": ["--adapters", "a=FOLDER/a", "b=FOLDER/b", "--weights", "a=1,b=0", "--out", "FOLDER/o"],
    "generate": ["--model", "FOLDER/m", "--prompts", "FOLDER/p.jsonl", "--label", "a", "--out", "FOLDER/o"],
    "generate-checkpoints": ["--checkpoints", "FOLDER/c", "--prompts", "FOLDER/p.jsonl", "--out", "FOLDER/o"],
    "steer": ["--model", "FOLDER/m", "--weights", "a=1", "Why?"],
    "pareto": ["--model", "FOLDER/m", "--prompts", "FOLDER/p.jsonl", "--objectives", "brevity", "rich_vocabulary", "--out", "FOLDER/o"],
    "score": ["--gens", "FOLDER/g", "--reward", "a=function:brevity", "--out", "FOLDER/o"],
    "score-gold": ["--answers", "FOLDER/a", "--gold", "bagofwords", "--out", "FOLDER/o"],
    "armorm": ["--model", "FOLDER/m", "--gens", "FOLDER/g", "--out", "FOLDER/o"],
    "eval-rm": ["--model", "FOLDER/m", "--data", "FOLDER/d.jsonl"],
    "eval-bt": ["--run_dir", "FOLDER/r"],
    "sweep-bt": ["--run_dir", "FOLDER/r", "--out", "FOLDER/o"],
    "variance": ["--model", "FOLDER/m", "--source", "FOLDER/s.jsonl", "--out", "FOLDER/o"],
    "judge": ["--model", "FOLDER/m", "--pairs", "FOLDER/p.jsonl", "--out", "FOLDER/o"],
    "eval-judge": ["--model", "FOLDER/m", "--data", "FOLDER/d.jsonl", "--out", "FOLDER/o"],
    "report": ["--scores", "FOLDER/s", "--labels", "a", "--reference", "a", "--x", "x", "--y", "y", "--out", "FOLDER/o"],
    "pareto-draw": ["--out", "FOLDER/o"],
    "conflicts": ["--data", "FOLDER/d.jsonl", "--style", "pairs", "--out", "FOLDER/o"],
    "compare-runs": ["--old", "FOLDER/a", "--new", "FOLDER/b", "--reference", "r", "--out", "FOLDER/o"],
    "win-rate": ["--gens", "FOLDER/a", "FOLDER/b", "--write_pairs", "--out", "FOLDER/o"],
    "label-curve": ["--run", "a=FOLDER/a", "--out", "FOLDER/o.png"],
    "paper-report": ["FOLDER/a", "--out", "FOLDER/o.html"],
    "steer-page": ["--model", "FOLDER/m"],
    "discriminator-server": ["--discriminator", "FOLDER/d", "--state", "FOLDER/s"],
    "check-pairs": ["--pairs", "FOLDER/p.jsonl", "--out", "FOLDER/o.jsonl"],
    "check-margin": ["--model", "FOLDER/m", "--adapter", "FOLDER/a", "--pairs", "FOLDER/p.jsonl"],
    "validate-eval-set": ["FOLDER/a", "FOLDER/b"],
    "doctor": ["FOLDER/run.yaml"],
    "tune-modpo": ["--study_name", "s", "--output_root", "FOLDER/o", "--config", "FOLDER/run.yaml"],
}  # fmt: skip


@pytest.mark.parametrize("verb", READS_A_FILE)
def test_a_file_that_is_not_there_is_no_traceback(verb, tmp_path, capsys):
    code, said = outcome(capsys, verb, *[text.replace("FOLDER", f"{tmp_path}/none") for text in READS_A_FILE[verb]])
    assert code == 2 and "error: " in said.err and f"{tmp_path}/none" in said.err, said.err


def test_all_verbs_that_read_a_file_are_tried():
    makes = {"embedded-model", "reproduce", "small-language", "small-replies"}
    assert set(VERBS) - set(READS_A_FILE) == {*makes, "precompute-margins"}


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["reprot"], 2, "unknown verb 'reprot'; did you mean 'report'?"),
        (["check-pairs", "--pairs", "PAIRS", "--out", "FOLDER"], 2, "not a regular file"),
        (["check-pairs", "--pairs", "PAIRS", "--out", "FILE/x.jsonl"], 2, "pairs.jsonl: "),
        (["check-pairs", "--pairs", "PAIRS", "--out", "/proc/x/y.jsonl"], 2, "/proc/x"),
        (["helpsteer-modpo", "--out", "FOLDER/o", "--config", "YAML"], 2, "torn.yaml"),
        (["tune-modpo", "--study_name", "s", "--output_root", "FOLDER/o", "--space", "YAML"], 2, "torn.yaml"),
        (["tune-modpo", "--study_name", "s", "--output_root", "FOLDER/o", "--config", "YAML"], 2, "torn.yaml"),
        (["doctor", "YAML"], 2, "torn.yaml"),
    ],
)  # fmt: skip
def test_mistakes_that_were_tracebacks(argv, code, message, tmp_path, capsys):
    (tmp_path / "torn.yaml").write_text("a: [1\nb: 2")
    pair = {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a b"}],
        "rejected_response": "c",
    }
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    places = {
        "FOLDER": tmp_path,
        "FILE": tmp_path / "pairs.jsonl",
        "PAIRS": tmp_path / "pairs.jsonl",
        "YAML": tmp_path / "torn.yaml",
    }
    for name, place in places.items():
        argv = [re.sub(rf"^{name}\b", str(place), text) for text in argv]
    found, said = outcome(capsys, *argv)
    assert found == code and message in said.err and "error: " in said.err and said.err.count("\n") == 1, said.err


@pytest.mark.parametrize("verb", VERBS)
def test_one_vocabulary(verb, capsys):
    """No verb has an old name of its own; where the new one is an option, the old one means it and says so once."""
    parser = parser_of(verb)
    options = {name for action in parser._actions for name in action.option_strings}
    # A setting of the pipeline's YAML files, which stands beside train_limit there.
    own = {"--eval_size"} if verb in ("helpsteer-modpo", "quickstart") else set()
    assert options & set(OLD_NAMES) == own
    for old, new in OLD_NAMES.items():
        given = parser._with_new_names([old, "1", f"{old}=2"])
        assert given == ([new, "1", f"{new}=2"] if new in options else [old, "1", f"{old}=2"])
        said = f"python -m launch {verb}: {old} is now {new}; the old name ends with the next release\n"
        assert capsys.readouterr().err == (said if new in options else "")


@pytest.mark.parametrize(
    ("verb", "flags", "name", "value"),
    [
        ("win-rate", ["--model", "m", "--out", "o"], "model", "m"),
        ("win-rate", ["--max_pairs", "3", "--out", "o"], "max_pairs", 3),
        ("judge", ["--pairs", "p", "--out", "o", "--votes", "5"], "n_samples", 5),
        ("eval-bt", ["--dtype", "bf16"], "torch_dtype", "bfloat16"),
        ("generate", ["--prompts", "p", "--out", "o", "--label", "l", "--rank", "2"], "rank", 2),
        ("check-margin", ["--model", "m", "--adapter", "a", "--pairs", "p", "--max_examples", "4"], "max_examples", 4),
    ],
)
def test_commands_of_the_last_release_mean_what_they_meant(verb, flags, name, value, capsys):
    assert getattr(parser_of(verb).parse_args(flags), name) == value and " is now " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "flags", "new"),
    [
        ("d2po-generate", [], "generate-checkpoints"),
        ("d2po-score", [], "score-gold"),
        ("generate", ["--checkpoints", "RUN"], "generate-checkpoints"),
        ("score", ["--gold=bagofwords"], "score-gold"),
    ],
)
def test_an_old_spelling_says_the_new_verb(verb, flags, new, capsys):
    assert (current_verb(verb, flags) == new and verb not in OLD_VERBS) or new in VERBS
    code, said = outcome(capsys, verb, *flags)
    assert code == 2 and said.err.startswith(
        f"this is now `python -m launch {new}`; the old spelling ends with the next"
    )


def test_help_lists_the_verbs_by_purpose(capsys):
    assert outcome(capsys)[0] == 2 and outcome(capsys, "--help")[0] == 0
    assert list(PURPOSES) == ["data", "train", "answer", "score", "compare", "serve", "check"]
    assert [line.split()[0] for line in usage().splitlines() if line.startswith("  ")] == list(VERBS)
    assert "generate-checkpoints" in VERBS and not set(OLD_VERBS) & set(VERBS)
