"""Variables of the systems that these methods come from. Here they would be ignored, and a run would mean something else.

Names that other programs use as well (`SEED`, `STEPS`, `LR`, `MODEL`, `DATASET`) are not among them: `docs/migrating.md`
has all.
"""

import os
from collections.abc import Mapping

MODPO = {
    "MARGIN_BETA": "a margin's role, reward or cost, says its direction and its beta the size alone; above 0 is a cost in the "
    "reference's guide and below 0 a reward, and its loss trained the other way round"
}
ARMORM = {"ARMORM_DEBUG_MAX_SAMPLES": "use --limit"}
D2PO = {
    "SAMPN": "use --window_pairs (pairs: half of these texts)",
    "RELABELS": "use --labels_per_window",
    "ATYPE": "use --selection confidence or random",
    "GREWARD": "use --gold",
    "UEPOCHS": "use --discriminator_epochs",
    "ULR": "use --discriminator_learning_rate",
    "APBSIZE": "use --discriminator_batch_size",
    "SUPDATES": "use --max_labels",
    "SFREQ": "use --save_steps",
    "PPOUPDATES": "use --window_passes",
    "MBSIZE": "use --per_device_train_batch_size x --gradient_accumulation_steps (pairs: half of these texts)",
    "GBSIZE": "use --generation_batch_size (prompts: half of these texts)",
    "DPOBATCHSIZE": "there is none: a window is collected, and --max_steps is STEPS x PPOUPDATES x DPOBATCHSIZE / MBSIZE",
    "KEEPLONG": "use --keep_long",
    "MLEN": "use --max_new_tokens",
}  # fmt: skip


def refuse_old_variables(old: Mapping[str, str], environ: Mapping[str, str] | None = None) -> None:
    """Refuses variables of another system.

    Args:
        old: name -> what says it here.
        environ: default: the environment of this process.

    Raises:
        ValueError: all that are set, each with what says it here.
    """
    found = [name for name in old if (os.environ if environ is None else environ).get(name)]
    if found:
        said = "; ".join(f"{name}: {old[name]}" for name in found)
        raise ValueError(f"variables of another system are set and would not be read (unset them): {said}")
