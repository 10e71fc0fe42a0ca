"""The table of seams against the classes themselves: what a trainer of the pack overrides is in it, and is found."""

import importlib

import pytest

from launch.doctor.methods import METHODS
from launch.doctor.seam_table import SEAMS, Seam
from launch.doctor.seams import check_seams, missing
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
    assert len(findings) == len(SEAMS)
    assert [one.level for one in findings].count("ok") == (6 if HAS_SWIFT else 3)
    assert not [one for one in findings if one.level == "error"]


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
