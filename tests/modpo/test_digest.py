"""What a stored margin depends on: a change of any ingredient changes its description, under the ingredient's name."""

import importlib
import json
import shutil
import sys

import pytest

from tests.tiny import build_classifier
from trl_ext.modpo.digest import describe_margin
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
    assert sys.modules[f"{name}.score"].score(["q"], ["r"], response_tokens=[1]) == [1] and f"{name}.helper" in sys.modules
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
