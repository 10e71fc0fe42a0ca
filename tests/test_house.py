"""The architecture: everything imports, imports go down only, packages are light, and nothing upstream is replaced."""

import ast
import json
import os
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("datasets_builders", "launch", "swift_ext", "trl_ext")
UPSTREAM = ("accelerate", "deepspeed", "peft", "swift", "torch", "transformers", "trl")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PLUGINS = sorted(path for path in (ROOT / "swift_ext" / "plugins").glob("*.py") if path.stem != "__init__")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def python(*arguments: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=env, timeout=300)


# --- every module imports ---------------------------------------------------------------------------------------------


def imported(server, module: str, *arguments) -> dict:
    """What `module` prints as JSON, from a process that has imported the libraries and nothing of ours."""
    done = server.run(module, [*arguments], {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}, ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_imports(warm, package):
    """ms-swift's half needs ms-swift; everything else imports without it."""
    names = [module_name(path) for path in FILES if module_name(path).split(".")[0] == package]
    assert names
    failures = imported(warm, "tests.import_all", *names)
    if find_spec("swift") is None:
        failures = {name: error for name, error in failures.items() if not re.search(r"\(module swift", error)}
    if find_spec("evaluate") is None:  # of the extra `eval`; its metrics are subclasses of its class
        failures = {name: error for name, error in failures.items() if not error.endswith("(module evaluate)")}
    assert not failures, failures


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_costs_nothing_heavy(package):
    heavy = ["torch", "transformers", "swift", "trl", "peft", "datasets"]
    done = python("-c", f"import sys, {package}; print([name for name in {heavy} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


# --- floors -----------------------------------------------------------------------------------------------------------


def imports(source: str, module: str, is_package: bool) -> set[str]:
    """Dotted names that a file imports anywhere, relative ones resolved; `from a import b` counts as `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            parts = parts[: len(parts) - node.level + is_package] if node.level else []
            origin = ".".join([*parts, *([node.module] if node.module else [])])
            found |= {f"{origin}.{alias.name}" for alias in node.names}
    return found


def imports_of(path: Path) -> set[str]:
    return imports(path.read_text(encoding="utf-8"), module_name(path), path.stem == "__init__")


def broken_rules(path: Path, names: set[str]) -> list[str]:
    """The floors of the house: launch > swift_ext > trl_ext > datasets_builders."""
    module, tops = module_name(path), {name.split(".")[0] for name in names}
    package, forbidden = module.split(".")[0], set()
    if package == "datasets_builders":
        forbidden = {"trl_ext", "swift_ext", "launch", "torch", "swift", "trl", "transformers"}
    elif package == "trl_ext":
        forbidden = {"swift", "swift_ext", "launch"}
        if module.startswith("trl_ext.objectives") or path.stem not in ("trainer", "script", "config"):
            forbidden |= {"trl"}
        if module.startswith("trl_ext.objectives"):
            forbidden |= {"transformers", "peft", "accelerate", "datasets"}
    elif package == "swift_ext":
        forbidden = {"launch"}
    broken = [f"{module} imports {top}" for top in sorted(forbidden & tops)]
    if package == "swift_ext":
        trainers = [
            n
            for n in names
            if re.match(
                r"trl\.(.*\.)?\w*Trainer$|trl\.trainer|trl\.experimental|trl_ext\.\w+\.(trainer|script)\b|trl_ext\.[A-Z]",
                n,
            )
        ]
        broken += [f"{module} imports {name}, a TRL trainer" for name in trainers]
    return broken


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_down_only(path):
    assert not broken_rules(path, imports_of(path))


@pytest.mark.parametrize(
    ("file", "source", "broken"),
    [
        ("datasets_builders/x.py", "def f():\n    import torch.nn", "datasets_builders.x imports torch"),
        ("trl_ext/modpo/x.py", "from trl import DPOConfig", "trl_ext.modpo.x imports trl"),
        ("trl_ext/objectives/config.py", "import trl", "trl_ext.objectives.config imports trl"),
        ("trl_ext/modpo/trainer.py", "from swift_ext.modpo import store", "trl_ext.modpo.trainer imports swift_ext"),
        (
            "swift_ext/modpo/x.py",
            "from trl import DPOTrainer",
            "swift_ext.modpo.x imports trl.DPOTrainer, a TRL trainer",
        ),
        (
            "swift_ext/modpo/x.py",
            "from trl_ext.modpo.trainer import A",
            "swift_ext.modpo.x imports trl_ext.modpo.trainer.A, a TRL trainer",
        ),
        ("swift_ext/modpo/x.py", "from ...launch import y", "swift_ext.modpo.x imports launch"),
        ("trl_ext/modpo/trainer.py", "from trl import DPOTrainer", None),
    ],
)
def test_the_floor_rules_can_fail(file, source, broken):
    path = ROOT / file
    assert broken_rules(path, imports(source, module_name(path), False)) == ([broken] if broken else [])


# --- circles ----------------------------------------------------------------------------------------------------------


def arrows(modules: dict[str, set[str]]) -> dict[str, set[str]]:
    """Module -> the modules of the house that it imports; `from a.b import c` is an arrow to `a.b.c`, or to `a.b`."""
    found = {}
    for module, names in modules.items():
        found[module] = set()
        for name in names:
            while name and name not in modules:
                name = name.rpartition(".")[0]
            found[module] |= {name} - {"", module}
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one circle, the first one again at the end; none where there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_module_imports_itself_by_a_detour():
    """Imports inside functions and for annotations count: two modules that know each other are one module."""
    graph = arrows({module_name(path): imports_of(path) for path in FILES})
    assert len(graph) == len(FILES) and sum(map(len, graph.values())) > len(FILES)  # it did look at something
    assert circle(graph) == []


@pytest.mark.parametrize(
    ("b", "c", "found"),
    [
        ("from . import c", "", []),
        ("def g():\n    from trl_ext.x.a import f", "", ["a", "b"]),
        ("from trl_ext.x import c", "if TYPE_CHECKING:\n    from .a import T", ["a", "b", "c"]),
    ],
)
def test_the_circle_rule_can_fail(b, c, found):
    sources = {
        "trl_ext.x.a": "from .b import f",
        "trl_ext.x.b": b,
        "trl_ext.x.c": c,
        "trl_ext.x.d": "from . import a, c",
    }
    graph = arrows({module: imports(source, module, False) for module, source in sources.items()})
    assert sorted({module[-1] for module in circle(graph)}) == found


# --- the staircase inside launch, and folders -------------------------------------------------------------------------

# Each step uses those before it; all other folders are what only one method or tool needs, and use every step.
STEPS = (("cli", "common"), ("models",), ("answers",), ("scores",), ("bt", "judge"), ("compare",))


def step_of(module: str) -> int:
    folder = module.split(".")[1]
    return next((number for number, folders in enumerate(STEPS) if folder in folders), len(STEPS))


def arrows_up(graph: dict[str, set[str]]) -> list[str]:
    inside = [
        (a, b) for a, targets in graph.items() for b in targets if a.startswith("launch.") and b.startswith("launch.")
    ]
    return sorted(f"{a} uses {b}" for a, b in inside if step_of(b) > step_of(a))


def between_folders(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same arrows between folders of a package; a module beside them is its own."""
    found = {}
    for module, targets in graph.items():
        folder = ".".join(module.split(".")[:2])
        found.setdefault(folder, set()).update({".".join(target.split(".")[:2]) for target in targets} - {folder})
    return found


def test_launch_is_a_staircase_and_no_folder_imports_itself_by_a_detour():
    graph = arrows({module_name(path): imports_of(path) for path in FILES})
    assert {folder for step in STEPS for folder in step} <= {path.name for path in (ROOT / "launch").iterdir()}
    assert arrows_up(graph) == []
    assert circle(between_folders(graph)) == []


def test_the_rules_about_steps_and_folders_can_fail():
    sources = {
        "launch.common.a": "from launch.models import b",
        "launch.models.b": "from launch.cli import c",
        "launch.cli.c": "",
        "launch.compare.d": "def f():\n    from launch.tune.e import g",
        "launch.tune.e": "from launch.doctor import h",
        "launch.tune.f": "from launch.compare import d",
        "launch.doctor.h": "",
        "launch.doctor.i": "import launch.tune.f",
    }
    graph = arrows({module: imports(source, module, False) for module, source in sources.items()})
    assert arrows_up(graph) == ["launch.common.a uses launch.models.b", "launch.compare.d uses launch.tune.e"]
    del graph["launch.compare.d"]
    assert circle(graph) == [] and set(circle(between_folders(graph))) == {"launch.doctor", "launch.tune"}


# --- nothing is written twice -----------------------------------------------------------------------------------------

# What the lowest floor has: the nearest name in `choices`, files and folders that appear whole in `io` and `beside`.
WRITTEN_ONCE = {
    "difflib": "datasets_builders.choices",
    "tempfile.mkstemp": "datasets_builders.io",
    "os.replace": "datasets_builders.io",
}


FIXED_NAMES = (".part", ".partial", ".tmp")  # of files that a kill leaves and nobody sweeps


def written_again(source: str, module: str) -> list[str]:
    nodes = list(ast.walk(ast.parse(source)))
    used = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)} | imports(source, module, False)
    found = [
        f"{name} is for {home}"
        for name, home in WRITTEN_ONCE.items()
        if any(f"{use}.".startswith(f"{name}.") for use in used)
    ]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return found + [f"{text!r} is for datasets_builders.beside" for text in texts if text.endswith(FIXED_NAMES)]


HOMES = {*WRITTEN_ONCE.values(), "datasets_builders.beside"}


@pytest.mark.parametrize("path", [path for path in FILES if module_name(path) not in HOMES], ids=module_name)
def test_what_the_lowest_floor_has_is_not_written_again(path):
    assert not written_again(path.read_text(encoding="utf-8"), module_name(path))


@pytest.mark.parametrize(
    "source",
    [
        "import difflib",
        "from difflib import get_close_matches",
        "def f():\n    os.replace(a, b)",
        "from os import replace",
        "x = tempfile.mkstemp()",
        "path.with_suffix('.part')",
        "x = f'.{name}.partial'",
    ],
)
def test_the_rule_about_the_lowest_floor_can_fail(source):
    assert len(written_again(source, "trl_ext.x")) == 1


# --- nothing upstream is replaced -------------------------------------------------------------------------------------


def assignments_to_upstream(source: str) -> list[str]:
    """Targets such as `swift.x.y = ...`, `del Trainer.train` or `setattr(torch, ...)` whose root name came from upstream."""
    tree = ast.parse(source)
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [(a.asname or a.name.split(".")[0]) for a in node.names if a.name.split(".")[0] in UPSTREAM]
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] in UPSTREAM:
            names = [a.asname or a.name for a in node.names]
        else:
            continue
        roots |= set(names)

    def root(node):
        while isinstance(node, ast.Attribute):
            node = node.value
        return node.id if isinstance(node, ast.Name) else None

    found = []
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else [getattr(node, "target", None)]
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", None) in ("setattr", "delattr")
            and root(node.args[0]) in roots
        ):
            found.append(ast.unparse(node))
        found += [ast.unparse(t) for t in targets if isinstance(t, ast.Attribute) and root(t) in roots]
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_line_assigns_to_an_upstream_attribute(path):
    """Also inside functions, where the comparison below does not come."""
    assert not assignments_to_upstream(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch\ntorch.nn.Linear.forward = f", ["torch.nn.Linear.forward"]),
        ("def g():\n    from swift.rlhf_trainers import DPOTrainer as D\n    D.train = f", ["D.train"]),
        ("from trl import DPOTrainer\ndel DPOTrainer.__init__", ["DPOTrainer.__init__"]),
        ("import peft\nsetattr(peft.PeftModel, 'x', f)", ["setattr(peft.PeftModel, 'x', f)"]),
        ("from swift.trainers import F\nF.MAPPING['dpo'] = 'x'", []),  # registering is allowed
        ("import torch\nself.torch = torch\nx.y = torch.z", []),
    ],
)
def test_the_assignment_rule_can_fail(source, found):
    assert assignments_to_upstream(source) == found


EXPECTED_TRAINERS = {
    "modpo": ["dpo"],
    "bt_grpo": ["grpo"],
    "pairwise_judge": ["grpo"],
    "shared_prefix": ["dpo", "grpo"],
}


def test_loading_the_plugins_replaces_nothing(warm_swift):
    """All plugins in one process; of the registries only the trainers of the methods and new rewards change."""
    result = imported(warm_swift, "tests.house_probe", *PLUGINS)
    assert result["replaced"] == []
    expected = sorted({name for plugin in PLUGINS for name in EXPECTED_TRAINERS[plugin.stem]})
    assert result["registries"]["TRAINER_MAPPING"] == expected
    assert result["registries"]["TRAINING_ARGS_MAPPING"] == ["dpo", "grpo"]
    assert all(name.startswith(("bt_", "pairwise_")) for name in result["registries"]["orms"])
    assert len(result["registries"]["orms"]) >= 12
    assert result["modules"] > 500 and result["classes"] > 500  # it did look at something


SABOTAGE = {
    "a function of a module": (
        "import trl.trainer.utils as u\nu.selective_log_softmax = lambda *a: None\n",
        "trl.trainer.utils.selective_log_softmax",
    ),
    "a method of a class": (
        "from swift.rlhf_trainers import DPOTrainer\nDPOTrainer.dpo_loss = lambda *a: None\n",
        "swift.rlhf_trainers.dpo_trainer.DPOTrainer.dpo_loss",
    ),
    "an inherited method": (
        "from swift.rlhf_trainers import DPOTrainer\nDPOTrainer.get_per_token_logps = lambda *a: None\n",
        "swift.rlhf_trainers.dpo_trainer.DPOTrainer.get_per_token_logps",
    ),
    "a deleted method": ("import peft\ndel peft.PeftModel.set_adapter\n", "peft.peft_model.PeftModel.set_adapter"),
}


def test_the_detector_detects(warm_swift, tmp_path):
    """Each way of patching, all in one process beside the real plugins: exactly these attributes are reported."""
    files = []
    for index, (source, _) in enumerate(SABOTAGE.values()):
        files.append(tmp_path / f"sabotage{index}.py")
        files[-1].write_text(source)
    result = imported(warm_swift, "tests.house_probe", *PLUGINS, *files)
    # A name that several modules import is patched where it was assigned only.
    assert result["replaced"] == sorted(attribute for _, attribute in SABOTAGE.values())
