"""What a stored margin depends on: a change of any ingredient changes its description, under the ingredient's name."""

import importlib
import json
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.tiny import build_classifier
from trl_ext.modpo.digest import describe_margin, source_digest
from trl_ext.modpo.margins import Margin


def changed(before: dict, after: dict) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.fixture
def function(tmp_path, monkeypatch):
    """Describes `SUFFIX.score` after writing files: the function's own, and a helper that it imports."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"margins_{tmp_path.name}".replace("-", "_")
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    margin = Margin("m", "function", f"{name}.score.score", "reward", 0.5, 1.0)

    def describe(body: str, helper: str = "SCALE = 1\n", imports: str = "from .helper import SCALE") -> dict:
        (package / "score.py").write_text(f"{imports}\ndef score(prompts, responses, response_tokens):\n    {body}\n")
        (package / "helper.py").write_text(helper)
        for module in [module for module in sys.modules if module.startswith(name)]:
            del sys.modules[module]
        importlib.invalidate_caches()
        return describe_margin(margin)

    return describe


@pytest.mark.parametrize("imports", ["from .helper import SCALE", "from . import helper", "import {name}.helper"])
def test_a_function_counts_by_its_body_and_by_what_it_imports_beside_it(function, tmp_path, imports):
    imports = imports.format(name=f"margins_{tmp_path.name}".replace("-", "_"))
    before = function("return [1.0 for _ in responses]", imports=imports)
    assert function("return [1.0 for _ in responses]", imports=imports) == before
    assert changed(before, function("return [2.0 for _ in responses]", imports=imports)) == {"source"}
    assert changed(before, function("return [1.0 for _ in responses]", "SCALE = 2\n", imports)) == {"source"}


def test_an_import_inside_the_function_counts_before_it_is_called_and_after(function, tmp_path):
    body = "from .helper import SCALE; return [SCALE for _ in responses]"
    before = function(body, imports="")
    name = f"margins_{tmp_path.name}".replace("-", "_")
    assert (
        sys.modules[f"{name}.score"].score(["q"], ["r"], response_tokens=[1]) == [1] and f"{name}.helper" in sys.modules
    )
    assert describe_margin(Margin("m", "function", f"{name}.score.score", "reward", 0.5, 1.0)) == before
    assert changed(before, function(body, "SCALE = 2\n", "")) == {"source"}


def test_a_function_that_is_made_of_another_counts_by_both_files(tmp_path, monkeypatch):
    """`mine.fast` is a partial of a function that stands elsewhere: which one, and with what, stands in `mine`."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"partial_{tmp_path.name}".replace("-", "_")

    def describe(keep: int, factor: int) -> dict:
        (tmp_path / "elsewhere" / f"{name}_of.py").write_text(
            f"def score(prompts, responses, response_tokens, keep):\n    return [keep * {factor}.0 for _ in responses]\n"
        )
        (tmp_path / f"{name}.py").write_text(
            f"from functools import partial\nfrom {name}_of import score\nfast = partial(score, keep={keep})\n"
        )
        for module in (name, f"{name}_of"):
            sys.modules.pop(module, None)
        importlib.invalidate_caches()
        return describe_margin(Margin("m", "function", f"{name}.fast", "reward", 0.5, 1.0))

    before = describe(10, 1)
    assert describe(10, 1) == before
    assert changed(before, describe(21, 1)) == {"source"} == changed(before, describe(10, 2))


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes files, `FILE` -> text, and digests `own_NUMBER.score` in this process; `own` stands for the module's name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"own_{abs(hash(str(tmp_path)))}"

    def digest(files: dict[str, str]) -> str:
        for file, text in files.items():
            path = tmp_path / file.replace("own", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("own", name))
        for module in [module for module in sys.modules if module.startswith(name)]:
            del sys.modules[module]
        importlib.invalidate_caches()
        return source_digest(f"{name}.score")

    digest.name = name
    return digest


BODY = "def _score(prompts, responses, response_tokens, scale=1): return [scale for _ in responses]\n"
PARTIAL = "import functools\n" + BODY + "score = functools.partial(_score, scale={})\n"
ELSEWHERE = "from own_beside import Scale\nscore = Scale({})\n"
INSIDE = (
    "def score(prompts, responses, response_tokens):\n    import own_beside\n    return own_beside.ones(responses)\n"
)
SCALE = "class Scale:\n    def __init__(self, scale): self.scale = scale\n    def __call__(self, p, r, response_tokens): return [self.scale] * {}len(r)\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"own.py": PARTIAL.format(2)}, {"own.py": PARTIAL.format(3)}),
        ({"own.py": ELSEWHERE.format(2), "own_beside.py": SCALE.format("")}, {"own.py": ELSEWHERE.format(3)}),
        ({"own.py": ELSEWHERE.format(2), "own_beside.py": SCALE.format("")}, {"own_beside.py": SCALE.format("2 * ")}),
        (
            {"own.py": INSIDE, "own_beside.py": "def ones(r): return [1] * len(r)"},
            {"own_beside.py": "def ones(r): return [2] * len(r)"},
        ),
        (
            {
                "own/__init__.py": "from .inner.deep import score",
                "own/inner/deep.py": "from ..top import T\n" + BODY.replace("_score", "score"),
                "own/top.py": "T = 1",
            },
            {"own/top.py": "T = 2"},
        ),
        (
            {
                "own/__init__.py": "from own.deep import score",
                "own/deep.py": "from own_beside import T\n" + BODY.replace("_score", "score"),
                "own_beside.py": "T = 1",
            },
            {"own_beside.py": "T = 2"},
        ),
    ],
    ids=["partial", "instance", "class of an instance", "import inside", "above its folder", "beside its package"],
)
def test_whatever_decides_what_a_function_computes_counts(own, before, after):
    first = own(before)
    assert own(before) == first and own(after) != first


def test_what_a_process_has_imported_before_does_not_count(own):
    """Seen before: another digest after the first call, which had imported the helper."""
    first = own({"own.py": INSIDE, "own_beside.py": "def ones(r): return [1] * len(r)"})
    sys.modules[own.name].score([], [], response_tokens=[])
    assert f"{own.name}_beside" in sys.modules and source_digest(f"{own.name}.score") == first


def test_a_virtual_environment_below_the_folder_does_not_count(own, tmp_path, monkeypatch):
    """Seen before: the whole of it, in 27 seconds."""
    for place, mark in (("venv/lib/python3.11/site-packages", None), ("env/lib", "env/pyvenv.cfg")):
        (tmp_path / place).mkdir(parents=True)
        monkeypatch.syspath_prepend(str(tmp_path / place))
        if mark:
            (tmp_path / mark).write_text("")
    files = {"own.py": "import own_one, own_two\n" + BODY.replace("_score", "score")}
    places = ("venv/lib/python3.11/site-packages/own_one.py", "env/lib/own_two.py")
    first = own(files | dict.fromkeys(places, "A = 1"))
    assert own(dict.fromkeys(places, "A = 2")) == first
    assert own({"own.py": files["own.py"] + "#"}) != first


def test_an_installed_function_counts_with_its_own_package_alone(tmp_path, monkeypatch, own):
    place = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(str(place))
    at = "site-packages/own/"
    first = own(
        {
            f"{at}__init__.py": "from .deep import score",
            f"{at}deep.py": "import own_other\nfrom . import scale\n" + BODY.replace("_score", "score"),
            f"{at}scale.py": "",
            "site-packages/own_other.py": "",
        }
    )
    assert own({"site-packages/own_other.py": "A = 1"}) == first
    assert own({f"{at}scale.py": "A = 1"}) != first


@pytest.mark.parametrize("way", ["-c", "stdin", "a cell of a notebook"])
def test_a_function_without_a_source_file_is_refused(way):
    """Seen before: the digest of nothing, so that a function that was written anew got the values of the old one."""
    code = BODY.replace("_score", "score") + "from trl_ext.modpo.digest import source_digest\n"
    code += "try: print(source_digest('__main__.score'))\nexcept ValueError as error: print('refused:', error)\n"
    if way == "a cell of a notebook":
        code = f"exec(compile({code!r}, '/no-such-folder/cell.py', 'exec'))"
    arguments = ["-c", code] if way != "stdin" else ["-"]
    done = subprocess.run([sys.executable, *arguments], input=code, capture_output=True, text=True, cwd=REPOSITORY)
    assert re.match(r"refused: function .*score.* has no source file, .*module\.function", done.stdout), done


def test_an_adapter_counts_by_its_configuration_too(adapter, tmp_path):
    """The same weights under another alpha are another margin."""
    folder = shutil.copytree(adapter, tmp_path / "own")
    margin = Margin("m", "adapter", str(folder), "reward", 0.5, 1.0)
    before = describe_margin(margin)
    (folder / "trainer_state.json").write_text("{}")
    assert describe_margin(margin) == before
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 99}))
    assert changed(before, describe_margin(margin)) == {"configuration"}


@pytest.mark.parametrize("file", ["tokenizer.json", "chat_template.jinja", "config.json"])
def test_a_classifier_counts_by_its_tokenizer_and_template(tmp_path, file):
    folder = build_classifier(tmp_path / "own")
    margin = Margin("m", "classifier", str(folder), "reward", 0.5, 1.0)
    before = describe_margin(margin)
    with (folder / file).open("a") as handle:
        handle.write("\n")
    assert changed(before, describe_margin(margin)) == {"configuration, tokenizer and template"}
