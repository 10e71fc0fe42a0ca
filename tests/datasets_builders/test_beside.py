"""Nothing is deleted that the command did not make; what a kill left goes at the next run, unless somebody holds it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from datasets_builders.beside import made_beside, new_folder, replaced_folder, sweep
from datasets_builders.io import write_bytes, write_json, write_jsonl

ROOT = Path(__file__).parents[2]
WRITER = """
import sys, time
from datasets_builders.beside import new_folder, replaced_folder
from datasets_builders.io import atomic_writer
with {writer}(sys.argv[1]) as handle:
    print("writing", flush=True)
    time.sleep(60)
"""


def start_writer(writer: str, target: Path) -> subprocess.Popen:
    """A process that is in the middle of writing `target`."""
    argv = [sys.executable, "-c", WRITER.format(writer=writer), str(target)]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def write_again(writer: str, target: Path) -> None:
    if writer == "atomic_writer":
        write_json(target, {"whole": True})
    else:
        with {"new_folder": new_folder, "replaced_folder": replaced_folder}[writer](target) as folder:
            (folder / "file").write_text("whole")


@pytest.mark.parametrize("writer", ["atomic_writer", "new_folder", "replaced_folder"])
def test_what_a_killed_writer_left_goes_at_the_next_run_and_what_a_live_one_holds_stays(tmp_path, writer):
    target = tmp_path / "result"
    process = start_writer(writer, target)
    (left,) = tmp_path.iterdir()
    sweep(target)
    assert list(tmp_path.iterdir()) == [left]
    process.send_signal(signal.SIGKILL)
    process.wait()
    others = [tmp_path / name for name in (".result.tmp", ".other.0123456789ab.tmp", "result.0123456789ab.tmp",
                                           ".result.0123456789ab.tmp.json", ".result.0123456789AB.tmp")]  # fmt: skip
    for other in others:
        other.write_text("mine")
    write_again(writer, target)
    assert sorted(tmp_path.iterdir()) == sorted([*others, target])


def test_a_state_takes_the_place_of_the_one_before_when_it_is_whole(tmp_path):
    state = tmp_path / "state"
    for number in (1, 2):
        with replaced_folder(state) as folder:
            (folder / f"file-{number}").write_text("whole")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["state", "state/file-2"]
    with pytest.raises(OSError, match="full"), replaced_folder(state) as folder:
        (folder / "file-3").write_text("a part")
        raise OSError("full")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["state", "state/file-2"]


def test_two_writers_of_one_file_do_not_take_each_others_work(tmp_path):
    target = tmp_path / "result"
    process = start_writer("atomic_writer", target)
    write_json(target, {"whole": True})
    assert len(list(tmp_path.iterdir())) == 2
    process.kill()
    process.wait()


@pytest.mark.parametrize("what", ["file", "folder with a file", "link to nothing"])
def test_a_folder_of_results_takes_nobodys_place(tmp_path, what):
    out = tmp_path / "out"
    if what == "file":
        out.write_text("mine")
    elif what == "link to nothing":
        out.symlink_to(tmp_path / "nowhere")
    else:
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="is there already and not an empty folder"), new_folder(out):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_fills_while_the_results_are_made_is_kept(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ValueError, match="not an empty folder"), new_folder(out) as folder:
        (folder / "file").write_text("new")
        (out / "notes.txt").write_text("mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "notes.txt"]


def test_an_empty_folder_and_a_link_to_one_are_filled(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    with new_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("new")
    assert (tmp_path / "out").is_symlink() and (tmp_path / "real" / "file").read_text() == "new"


def test_an_error_leaves_neither_the_new_nor_loses_the_old(tmp_path):
    write_bytes(tmp_path / "picture.png", b"\x89old")
    with pytest.raises(TypeError):
        write_bytes(tmp_path / "picture.png", "text")
    with pytest.raises(ZeroDivisionError):
        write_jsonl(tmp_path / "picture.png", ({"a": 1 // n} for n in (1, 0)))
    with pytest.raises(KeyboardInterrupt), made_beside(tmp_path / "x", Path.mkdir):
        raise KeyboardInterrupt
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("picture.png", b"\x89old")]


SCRATCH = """
import os, time
from datasets_builders.scratch import scratch_database
with scratch_database() as database:
    database.execute("CREATE TABLE rows (text TEXT)")
    database.executemany("INSERT INTO rows VALUES (?)", (("x" * 1000,) for _ in range(20_000)))
    places = [os.path.realpath("/proc/self/fd/" + name) for name in os.listdir("/proc/self/fd")]
    print(sum(place.startswith(os.environ["TMPDIR"]) for place in places), flush=True)
    time.sleep(60)
"""


def test_a_scratch_database_is_on_disk_and_a_kill_leaves_nothing_of_it(tmp_path):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", SCRATCH], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "1\n"  # 20 MB do not fit the cache of 2 MiB
    process.kill()
    process.wait()
    assert list(tmp_path.iterdir()) == []


def test_an_occupied_place_is_refused_before_the_work_for_it_begins(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "somebodys").touch()
    with pytest.raises(ValueError, match="is there already"), new_folder(tmp_path / "out"):
        pytest.fail("hours of work would have been thrown away")
