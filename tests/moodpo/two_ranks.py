"""One rank of the two-rank test: trains, and writes what it drew and where it arrived. Arguments: model, folder."""

import hashlib
import json
import sys
from pathlib import Path

from tests.moodpo.trainer_cases import FIRST, SECOND, Recorder, build, conversations
from trl_ext.shutdown import let_gloo_finish_at_exit

base, folder = Path(sys.argv[1]), Path(sys.argv[2])
let_gloo_finish_at_exit()


def run() -> Recorder:
    return build(
        base, folder / "run", Recorder, reward_models=[FIRST, SECOND], per_device_train_batch_size=2, max_steps=4,
        eval_dataset=conversations(3), per_device_eval_batch_size=2, save_strategy="steps", save_steps=3,
    )  # fmt: skip


def drawn(trainer: Recorder) -> list[list]:
    return [
        [batch["epoch"], row, *weights]
        for batch in trainer.seen
        for row, weights in zip(batch["row_number"][:2], batch["weights"][:2], strict=True)
    ]


def digest(trainer: Recorder) -> str:
    found = hashlib.sha256()
    for value in trainer.model.state_dict().values():
        found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()


trainer = run()
trainer.train()
rank = trainer.accelerator.process_index
from tests.moodpo.reward_functions import CALLS, first  # noqa: E402

_, prompts, completions = CALLS[0]
resumed = run()
resumed.train(resume_from_checkpoint=str(folder / "run" / "checkpoint-3"))  # the middle of the second epoch
found = {
    "drawn": drawn(trainer),
    "drawn_after_resume": drawn(resumed),
    "state": trainer.state_dict(),
    "digest": digest(trainer),
    "digest_after_resume": digest(resumed),
    "score": sum(first(prompts, completions)) / len(completions),
    "logs": trainer.state.log_history[0] if trainer.state.log_history else {},
    "evaluation": trainer.evaluate(),
}
(folder / f"rank{rank}.json").write_text(json.dumps(found))
