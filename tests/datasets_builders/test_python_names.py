"""Names that are loaded when they are used, and functions that a user names."""

import json
import re
import subprocess
import sys

import pytest

from datasets_builders.python_names import function_at, loaded_when_used


def test_a_name_is_loaded_when_it_is_used_and_no_sooner():
    code = (
        "import sys, datasets_builders, trl_ext.objectives, swift_ext.modpo, trl_ext.d2po.discriminator;"
        "print([name for name in ('datasets_builders.io', 'torch', 'pydantic_settings') if name in sys.modules]);"
        "print(datasets_builders.write_json.__module__, 'datasets_builders.io' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "datasets_builders.io True"]


def test_a_name_that_a_package_has_not_is_no_attribute_of_it():
    load = loaded_when_used("json", {"JSONDecoder": ".decoder"})
    assert load("JSONDecoder") is json.JSONDecoder
    with pytest.raises(AttributeError, match=r"^module 'json' has no attribute 'nothing'$"):
        load("nothing")


@pytest.mark.parametrize("path", ["json:loads", "json.loads", "json.decoder:JSONDecoder", "json.decoder.JSONDecoder"])
def test_a_function_by_its_path(path):
    named = ("strict",) if path.endswith("Decoder") else ()
    assert function_at(path, "it", () if named else ("s",), named) in (json.loads, json.JSONDecoder)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module:f", "^reward 'a' cannot be imported: No module named 'no_such_module'$"),
        ("json.nothing", "^reward 'a' cannot be imported: .*nothing"),
        ("json:dumpz", r"^reward 'a' cannot be imported: .*; did you mean 'dump'\?$"),
        ("math:pi", "^reward 'a' is a float, not a function$"),
        ("..dumps", "^reward 'a' cannot be imported: package.module:function is valid$"),
        (".f", "^reward 'a' cannot be imported: package.module:function is valid$"),
        ("broken_rewards:f", "^reward 'a' cannot be imported: broken_rewards stops with SyntaxError: .*line 1"),
        ("keyless_rewards:f", "^reward 'a' cannot be imported: keyless_rewards stops with KeyError: 'NO_SUCH_KEY'"),
    ],
)
def test_what_is_no_function_is_refused(path, message, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_rewards.py").write_text("def f(:\n")
    (tmp_path / "keyless_rewards.py").write_text("import os\nos.environ['NO_SUCH_KEY']\n")
    with pytest.raises(ValueError, match=message):
        function_at(path, "reward 'a'", ())


@pytest.mark.parametrize(
    ("given", "named", "why"),
    [
        ((), (), "missing a required argument: 'prompts'"),
        (("prompts", "responses", "metadata"), (), "too many positional arguments"),
        (("prompts", "responses"), ("response_tokens",), "got an unexpected keyword argument 'response_tokens'"),
    ],
)
def test_a_function_that_does_not_take_its_arguments_is_refused(given, named, why, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "two_arguments.py").write_text("def f(prompts, responses): ...\n")
    assert function_at("two_arguments:f", "it", ("prompts", "responses"))
    asked = ", ".join([*given, *(f"{name}=..." for name in named)])
    message = f"it takes (prompts, responses), but is called with ({asked}): {why}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        function_at("two_arguments:f", "it", given, named)


def test_a_function_that_does_not_say_what_it_takes_is_taken():
    assert function_at("builtins:max", "it", ("prompts",)) is max
