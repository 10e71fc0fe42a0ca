"""One rank of the two-rank test: trains, and writes what it drew and where it arrived. Arguments: model, folder."""

import hashlib
import json
import sys
from pathlib import Path

from tests.moodpo.trainer_cases import FIRST, SECOND, Recorder, build, conversations
from trl_ext.shutdown import let_gloo_finish_at_exit

base, folder = Path(sys.argv[1]), Path(sys.argv[2])
let_gloo_finish_at_exit()
trainer = build(
    base, folder / "run", Recorder, reward_models=[FIRST, SECOND], per_device_train_batch_size=2, max_steps=4,
    eval_dataset=conversations(3), per_device_eval_batch_size=2,
)  # fmt: skip
trainer.train()
rank = trainer.accelerator.process_index
drawn = [
    [batch["epoch"], row, *weights]
    for batch in trainer.seen
    for row, weights in zip(batch["row_number"][:2], batch["weights"][:2], strict=True)
]
digest = hashlib.sha256()
for value in trainer.model.state_dict().values():
    digest.update(value.contiguous().numpy().tobytes())
from tests.moodpo.reward_functions import CALLS, first  # noqa: E402

_, prompts, completions = CALLS[0]
found = {
    "drawn": drawn,
    "state": trainer.state_dict(),
    "digest": digest.hexdigest(),
    "score": sum(first(prompts, completions)) / len(completions),
    "logs": trainer.state.log_history[0] if trainer.state.log_history else {},
    "evaluation": trainer.evaluate(),
}
(folder / f"rank{rank}.json").write_text(json.dumps(found))
