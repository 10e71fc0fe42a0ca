"""`swift rlhf --rlhf_type dpo` with the plugin at w = 1, and with a margin of weight 0, is stock DPO to the last digit; with
shared prefixes to rounding."""

from importlib.util import find_spec

import pytest

from tests.conftest import REPOSITORY, swift_flags
from tests.tiny import build_model

from .conftest import chosen
from .dpo_variants import CASES, VARIANTS
from .rows import write_forms
from .variants import check

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("swift") is None, reason="ms-swift is not installed in this environment"),
]
LIMITS = {
    "no margin": {"MODPO_W": "1"},
    "function": {"MODPO_W": "1", "MODPO_MARGIN_FUNCTION": "brevity", "MODPO_MARGIN_WEIGHT": "0"},
    "adapter": {"MODPO_W": "1", "MODPO_MARGIN_ADAPTER": "@adapter", "MODPO_MARGIN_WEIGHT": "0"},
    "shared prefixes": {"MODPO_W": "1"},
}
ROUNDING = {"shared prefixes": 5e-5}
WORKER = "tests.parity.swift_worker"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_forms(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return build_model(tmp_path_factory.mktemp("other") / "model", seed=4)


@pytest.fixture(scope="module")
def answers(request, swift_workers, tiny, other, adapter, files, tmp_path_factory):
    """{side: {variant, or variant and limit: answer}}."""
    folder, places = tmp_path_factory.mktemp("runs"), {**files, "adapter": adapter, "other": other}

    def placed(value):
        """`@name` is the path of that file or folder."""
        if isinstance(value, list):
            return [placed(one) for one in value]
        return places[value[1:]] if isinstance(value, str) and value.startswith("@") else value

    def job(name: str, variant, side: str, environment: dict) -> dict:
        flags = {"max_steps": 3} | {key: placed(value) for key, value in variant.flags.items()}
        argv = swift_flags(tiny, files[variant.data], folder / side / name.replace(" ", "_"), **flags)
        return {"name": name, "argv": argv, "environment": environment}

    def placed_limit(limit: str) -> dict:
        word = "on" if limit in ROUNDING else "off"
        return {key: str(placed(value)) for key, value in LIMITS[limit].items()} | {"MODPO_SHARED_PREFIX": word}

    cases = chosen(request, "name", "limit")
    stock = [job(name, VARIANTS[name], "stock", {}) for name in dict.fromkeys(name for name, _ in cases)]
    ours = [job(f"{name}, {limit}", VARIANTS[name], "ours", placed_limit(limit)) for name, limit in cases]
    plugin = str(REPOSITORY / "swift_ext" / "plugins" / "modpo.py")
    return {
        "stock": swift_workers(WORKER, {"plugin": None, "runs": stock}, "stock"),
        "ours": swift_workers(WORKER, {"plugin": plugin, "runs": ours}, "ours"),
    }


@pytest.mark.parametrize(("name", "limit"), CASES)
def test_the_limit_is_stock_dpo(answers, count, name, limit):
    stock, ours = answers["stock"][name], answers["ours"][f"{name}, {limit}"]
    check(count, "swift rlhf --rlhf_type dpo", VARIANTS[name], limit, stock, ours, ROUNDING.get(limit, 0.0))
