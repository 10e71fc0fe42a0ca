"""The table of seams against the classes themselves: what a trainer of the pack overrides is in it, and is found."""

import importlib
from collections import Counter

import pytest

from launch.doctor.methods import METHODS
from launch.doctor.seam_table import SEAMS, Seam
from launch.doctor.seams import check_seams, missing
from launch.doctor.seams_seen import ABSENT, moved, note, seen_range, takes
from launch.doctor.versions import installed
from tests.launch.doctor.conftest import HAS_SWIFT

CLASSES = {
    "modpo": ["swift_ext.modpo.trainer:MODPOTrainer"],
    "bt_grpo": ["swift_ext.bt_grpo.trainer:PairGRPOTrainer", "swift_ext.bt_grpo.config:PairGRPOConfig"],
    "pairwise_judge": ["swift_ext.pairwise_judge.trainer:JudgeGRPOTrainer"],
    "modpo-trl": ["trl_ext.modpo.trainer:MODPOTrainer"],
    "moodpo": ["trl_ext.moodpo.trainer:MOODPOOnlineDPOTrainer"],
    "d2po": ["trl_ext.d2po.trainer:D2POTrainer"],
}
MADE_BY_DATACLASS = {"__init__", "__repr__", "__eq__"}


def overrides(cls: type) -> set[str]:
    """Methods of the pack's classes that an upstream class below them has too."""
    ours = [one for one in cls.__mro__ if one.__module__.split(".")[0] in ("swift_ext", "trl_ext")]
    upstream = [one for one in cls.__mro__ if one not in ours and one is not object]
    names = {name for one in ours for name, value in vars(one).items() if callable(value)}
    if hasattr(cls, "__dataclass_fields__"):
        names -= MADE_BY_DATACLASS
    return {name for name in names if any(name in vars(one) for one in upstream)}


@pytest.mark.parametrize("method", CLASSES)
def test_every_override_is_in_the_table(method):
    if METHODS[method].upstream == "ms-swift" and not HAS_SWIFT:
        pytest.skip("ms-swift is not installed in this environment")
    listed = {seam.path.rsplit(".", 1)[-1] for seam in SEAMS[method]}
    for path in CLASSES[method]:
        module, _, name = path.partition(":")
        found = overrides(getattr(importlib.import_module(module), name)) - {"__init__"}
        assert found, path
        assert found <= listed, found - listed


def test_all_seams_are_in_the_installed_upstreams():
    findings = check_seams(None)
    levels = Counter(one.level for one in findings)
    assert levels["ok"] == (6 if HAS_SWIFT else 3) and levels["ok"] + levels["skipped"] == len(SEAMS)
    assert not levels["error"]  # warnings: another version than those that were seen may have moved a seam


@pytest.mark.parametrize(
    ("seam", "text"),
    [
        (Seam("trl:DPOTrainer.compute_the_loss"), "no trl.DPOTrainer.compute_the_loss"),
        (Seam("trl.no_such_module:f"), "trl.no_such_module cannot be imported"),
        (
            Seam("trl:DPOTrainer.compute_loss", ("model", "batch")),
            "compute_loss takes no batch, only self, model, inputs",
        ),
        (Seam("trl.trainer.utils:get_config_model_id", ("config",)), None),
    ],
)
def test_what_is_lost_is_named(seam, text):
    found = missing(seam)
    assert found is None if text is None else text in found


def test_a_registry_without_the_entry_is_named():
    pytest.importorskip("swift")
    seam = Seam("swift.trainers.trainer_factory:TrainerFactory.TRAINER_MAPPING", entry="modpo")
    assert missing(seam).endswith("TRAINER_MAPPING has no entry 'modpo'")


LOSS = Seam("trl:DPOTrainer.compute_loss", why="the shifted reference")


def table(**kinds: list[str]) -> dict:
    return {"trl": {LOSS.path: kinds}}


def test_the_range_in_which_a_seam_was_seen():
    assert seen_range(LOSS, {}) == ""
    assert seen_range(LOSS, table(self=["1.0.0"])) == "seen in trl 1.0.0"
    known = table(absent=["0.29.1", "2.0"], a=["1.0.0", "1.16.0"], b=["1.2.0"])
    assert seen_range(LOSS, known) == "seen in trl 1.0.0 to 1.16.0 (3 versions)"


def test_a_seam_that_takes_something_else_than_in_the_nearest_version_moved():
    known = table(a=["1.2.0"], b=["1.10.0"])
    assert moved(LOSS, "1.17.0", "b", known) is None and moved(LOSS, "1.9.2", "a", known) is None
    assert moved(LOSS, "1.17.0", "c", known) == "trl.DPOTrainer.compute_loss: c in trl 1.17.0, b in 1.10.0"
    assert moved(LOSS, "1.0.0", "b", known).endswith("b in trl 1.0.0, a in 1.2.0")
    assert moved(LOSS, "1.17.0", "c", {}) is None
    # Seen: a warning in a tested environment, where ms-swift had put a function of its own around PEFT's.
    assert moved(LOSS, "1.17.0", "self, args, kwargs", known) is None
    assert moved(LOSS, "1.17.0", "b", table(**{"self, args, kwargs": ["1.10.0"]})) is None


def test_what_is_installed_is_noted_once():
    pytest.importorskip("trl")
    here, path = installed("trl"), LOSS.path
    assert takes(LOSS).startswith("self, model, inputs") and takes(Seam("trl:NoTrainer")) == ABSENT
    made = note(table(old=["0.1", here], gone=[here]), ("trl",))
    assert made["trl"][path] == {"old": ["0.1"], takes(LOSS): [here]}
    assert note(made, ("trl",)) == made and note({}, ("no-such",)) == {}
