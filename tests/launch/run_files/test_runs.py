"""`python -m launch runs`: every file is listed by what it says of itself, and its copy names nothing of a checkout."""

import ast
import json
import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from launch.__main__ import main
from launch.cli.verbs import VERBS
from launch.common.installed import page
from launch.run_files.catalogue import find, shipped
from launch.run_files.places import quoted, resolved
from tests.conftest import REPOSITORY

PACKAGES = ("datasets_builders", "launch", "swift_ext", "trl_ext")
FILES = list(shipped().values())
# A path as it is told from the root of a checkout.
OF_A_CHECKOUT = re.compile(rf"(?<![\w./])(?:{'|'.join(PACKAGES)}|docs|tests|benchmarks|\.venv(?:-trl)?)/[\w.*-]+")


def outcome(capsys, *argv):
    try:
        code = main(["runs", *map(str, argv)])
    except SystemExit as end:
        code = end.code
    return code, capsys.readouterr()


def test_every_file_is_there_with_what_it_says_of_itself():
    folders = [*(REPOSITORY / "launch" / "runs").iterdir(), *(REPOSITORY / "launch" / name for name in ("accelerate", "deepspeed", "slurm"))]  # fmt: skip
    assert {one.path for one in FILES} == {path for folder in folders for path in folder.iterdir()}
    assert [one.name for one in FILES if not one.purpose or not one.hardware] == []
    assert [one.name for one in FILES if one.of_a_run and "any" in (one.method, one.upstream)] == []
    named = {one.name: (one.method, one.upstream) for one in FILES}
    assert named["modpo_swift/one_gpu"] == ("modpo", "ms-swift") and named["d2po/rm_trl"] == ("trl-reward", "trl")
    assert named["deepspeed/zero2"] == ("any", "any") and named["slurm/accelerate"] == ("any", "trl")
    assert named["pairwise_judge/verl"] == ("pairwise_judge", "verl")
    assert find("deepspeed/zero3_offload").purpose == find("accelerate/zero3_offload").purpose


def values(text: str, path: Path) -> dict:
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_copy_names_nothing_of_a_checkout_and_changes_nothing_else(file, tmp_path):
    text, target = resolved(file, tmp_path / f"mine{file.path.suffix}"), tmp_path / f"mine{file.path.suffix}"
    assert [line for line in text.splitlines() if OF_A_CHECKOUT.search(line)] == []
    if file.path.suffix != ".json":
        assert str(target) in text
        assert not re.search(rf"{file.path.parent.name}/{re.escape(file.path.name)}", text)
    for place in re.findall(rf"{re.escape(str(REPOSITORY))}/(?!\.venv)[\w./-]*\w", text):
        assert Path(place).is_file(), place
    copies = re.findall(r"launch runs copy (\S+) --to (\S+)", text)
    assert all(Path(to).parent == tmp_path and find(name).path.name == Path(to).name for name, to in copies)
    beside = {Path(place).name for place in re.findall(rf"{re.escape(str(tmp_path))}/[\w.-]*\w", text)}
    assert beside <= {target.name, *(Path(to).name for _, to in copies)}
    if file.path.suffix not in (".sbatch", ".sh"):
        old, new = values(file.path.read_text("utf-8"), file.path), values(text, target)
        absolute = json.loads(json.dumps(new).replace(f"{REPOSITORY}/", ""))
        assert absolute == old


def test_a_place_with_a_space_is_one_word_everywhere(monkeypatch, tmp_path):
    folder = tmp_path / "my env"
    (folder / "swift_ext" / "plugins").mkdir(parents=True)
    (folder / "swift_ext" / "plugins" / "modpo.py").touch()
    monkeypatch.setattr("launch.run_files.places.PACK", folder)
    text = resolved(find("modpo_swift/one_gpu"), Path("run.yaml"))
    assert yaml.safe_load(text)["external_plugins"] == str(folder / "swift_ext" / "plugins" / "modpo.py")
    with pytest.raises(ValueError, match="a quote, a dollar or a backslash"):
        quoted("/home/$USER/x")


@pytest.mark.parametrize("name", ["launch/runs/d2po/rm_swift.yaml", "d2po/rm_swift", "rm_swift", "rm_swift.yaml"])
def test_a_file_is_found_by_every_name_that_a_page_gives_it(name):
    assert find(name).name == "d2po/rm_swift"


def test_what_is_wrong_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for argv, message in (
        (["show", "modpo_swift/one_gpuu"], "did you mean 'modpo_swift/one_gpu'?"),
        (["show", "two_nodes"], "is the name of 6 files: bt_grpo/two_nodes, "),
        (["show"], "show needs the NAME of a file"),
        (["list", "--to", "x"], "--to is for copy"),
        (["cpoy", "single"], "did you mean 'copy'?"),
    ):
        code, said = outcome(capsys, *argv)
        assert code == 2 and message in said.err and said.err.count("\n") == 1, said.err
    assert outcome(capsys, "copy", "accelerate/cpu")[0] == 0 and (tmp_path / "cpu.yaml").is_file()
    (tmp_path / "cpu.yaml").write_text("mine")
    code, said = outcome(capsys, "copy", "accelerate/cpu", "--to", tmp_path)
    assert code == 2 and "cpu.yaml is there already" in said.err and (tmp_path / "cpu.yaml").read_text() == "mine"


def test_copy_says_how_the_copy_is_started_and_show_prints_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    said = outcome(capsys, "copy", "modpo_swift/two_nodes", "--to", "mine.yaml")[1].out
    assert said.startswith("wrote mine.yaml\nBeside:   python -m launch runs copy slurm/swift --to swift.sbatch\n")
    assert "Launch:   RUN=mine.yaml sbatch swift.sbatch" in said
    outcome(capsys, "copy", "smollm2_words")
    assert outcome(capsys, "show", "smollm2_words")[1].out == (tmp_path / "smollm2_words.yaml").read_text()
    text = outcome(capsys, "show", "modpo/quickstart")[1].out
    assert "helpsteer-modpo --preset quickstart --config quickstart.yaml --out" in text
    listed = outcome(capsys, "list", "slurm")[1].out
    assert "slurm/swift  (upstream ms-swift)" in listed and f"2 of {len(FILES)} files" in listed


def test_a_page_lies_where_it_can_be_read():
    assert page("doctor").is_file()


# --- messages ---------------------------------------------------------------------------------------------------------

# The folder inside the installed package, named in a sentence of a stored claim.
MEANT = {"eval_agrees.py": "launch/reproduce"}


def messages(source: str) -> list[str]:
    """The texts of a module that are no docstrings."""
    tree = ast.parse(source)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, kinds)]
    docs = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [node.value for node in texts if id(node) not in docs]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_message_sends_the_reader_to_a_checkout(package):
    found = [
        f"{path.name}: {place}"
        for path in (REPOSITORY / package).rglob("*.py")
        for text in messages(path.read_text("utf-8"))
        for place in OF_A_CHECKOUT.findall(text)
        if place != MEANT.get(path.name)
    ]
    assert found == []


def test_no_message_installs_from_a_checkout():
    found = [
        f"{path.name}: {text[:80]}"
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*.py")
        for text in messages(path.read_text("utf-8"))
        if re.search(r"pip install (?:-e|\.|--editable)", text)
    ]
    assert found == []


@pytest.mark.parametrize("verb", VERBS)
def test_no_help_sends_the_reader_to_a_checkout(verb):
    assert OF_A_CHECKOUT.findall(import_module(VERBS[verb].module).make_parser().format_help()) == []


def test_the_rule_about_messages_can_fail():
    source = (
        '"""docs/a.md"""\ndef f():\n    """tests/b"""\n    raise ValueError(f"see docs/{x}.md, launch/runs/d2po")\n'
    )
    assert [place for text in messages(source) for place in OF_A_CHECKOUT.findall(text)] == ["launch/runs"]
    assert OF_A_CHECKOUT.findall("x/launch/runs ./docs/a .venv/bin") == [".venv/bin"]
