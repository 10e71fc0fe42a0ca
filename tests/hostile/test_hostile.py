"""The short form of `python -m tests.hostile.hostile`, and that its targets take what is sound and its faults are seen."""

import json
from pathlib import Path

import pytest

from tests.datasets_builders.containers import write
from tests.hostile.documents import DOCUMENTS, NAMES, TEXTS, write_document
from tests.hostile.hostile import FAULTS, run, try_one
from tests.hostile.inputs import hostile_file
from tests.hostile.rows import FAMILIES
from tests.hostile.targets import TARGETS, Target


def test_a_hundred_malformed_files():
    found = []
    counts = run(range(100), found.append)
    assert not any(counts[name] for name in FAULTS), found[0]
    assert counts["runs"] >= 200


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_sound_rows_are_taken(target, tmp_path):
    for number, (family, rows) in enumerate(FAMILIES.items()):
        if target.reads(family):
            place = tmp_path / str(number)
            (place / "out").mkdir(parents=True)
            assert target.run(write(place, "jsonl", rows), place / "out") in (0, None), family
    for number, family in enumerate(filter(target.reads, DOCUMENTS)):
        place = tmp_path / f"document{number}"
        (place / "out").mkdir(parents=True)
        assert target.run(write_document(place, family, DOCUMENTS[family]), place / "out") in (0, None), family


@pytest.mark.parametrize(
    "target", [one for one in TARGETS if any(map(one.reads, DOCUMENTS))], ids=lambda target: target.name
)
def test_texts_that_are_no_documents(target, tmp_path):
    """Too deep, endless by its aliases, dates and numbers that are none, another type, fields that are not there."""
    kind = next(filter(target.reads, DOCUMENTS)).split(": ")[0]
    for number, (text, refused) in enumerate(TEXTS[kind].items()):
        source, out = tmp_path / str(number) / NAMES[kind], tmp_path / f"{number}-out"
        source.parent.mkdir()
        out.mkdir()
        source.write_text(text, encoding="utf-8")
        fault = try_one(target, source, out, refused and not target.passes_over)
        assert fault is None, (text[:60], fault)


def crashing(source: Path, folder: Path) -> int:
    return json.loads(source.read_text())["no such field"]


def careless(source: Path, folder: Path) -> int:
    (folder / "out.jsonl").write_text("half a r")
    return 0


def untidy(source: Path, folder: Path) -> int:
    (folder / "out.jsonl").write_text("{}\n")
    raise SystemExit(2)


@pytest.mark.parametrize(
    ("run_target", "refused", "fault"),
    [(crashing, False, "tracebacks"), (careless, True, "wrong exit codes"), (careless, False, "wrong exit codes"), (untidy, False, "wrong exit codes"), (lambda *_: 1, False, "wrong exit codes")],
)  # fmt: skip
def test_faults_are_seen(tmp_path, run_target, refused, fault):
    source = write(tmp_path, "jsonl", [{}])
    (tmp_path / "out").mkdir()
    assert try_one(Target("x", ("pair: ",), run_target), source, tmp_path / "out", refused)[0] == fault


def test_an_input_is_a_function_of_its_seed(tmp_path):
    for seed in range(20):
        for name in "ab":
            (tmp_path / f"{name}{seed}" / "lines").mkdir(parents=True)
        assert hostile_file(seed, tmp_path / f"a{seed}")[1:] == hostile_file(seed, tmp_path / f"b{seed}")[1:]
