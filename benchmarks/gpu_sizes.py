"""What the parts of the GPU suite are given: lengths and counts, for 80 GB and for the rehearsal on a CPU. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.alone import Deadline
from benchmarks.turns import causal_model, random_checkpoint, write_tokenizer
from launch.common.operations import SHAPES, Shape

TINY = {
    "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip
# The made texts' tokenizer has 400 words, its first three special.
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 4096}


@dataclass(frozen=True)
class Size:
    """Lengths and counts.

    Attributes:
        shapes: fields of a Qwen2 configuration by the model's name.
        cpu: on the CPU in fp32, else on the GPU in bf16.
        rounds: timed steps of a variant, at most.
        pairs: of a step of MODPO. Models of 7B take gradient checkpointing with it.
        prompt_words, answer_words: of a pair, and of GRPO's prompt.
        groups: prompts of a step of GRPO, by the model's name; each has `completions` answers of `answer_tokens`.
        online: prompts of a step of MOODPO and D2PO, with two answers of `new_tokens` each.
        window: steps of a window of D2PO.
        steps: of the trainings from end to end, by method.
    """

    shapes: Mapping[str, Shape]
    cpu: bool
    rounds: int
    pairs: Mapping[str, int]
    prompt_words: int
    answer_words: int
    groups: Mapping[str, int]
    completions: int
    answer_tokens: int
    online: int
    new_tokens: int
    window: int
    steps: Mapping[str, int]

    @property
    def dtype(self) -> str:
        return "float32" if self.cpu else "bfloat16"

    @property
    def device(self) -> str:
        return "cpu" if self.cpu else "cuda"


FULL = Size(
    shapes=SHAPES, cpu=False, rounds=9, pairs={"0.5B": 8, "1.5B": 4, "7B": 4}, prompt_words=150, answer_words=75,
    groups={"0.5B": 2, "1.5B": 1}, completions=8, answer_tokens=128, online=8, new_tokens=48, window=2,
    steps={"modpo": 30, "judge": 6, "moodpo": 8, "d2po": 8},
)  # fmt: skip
REHEARSAL = Size(
    shapes=dict.fromkeys(FULL.pairs, TINY), cpu=True, rounds=1, pairs=dict.fromkeys(FULL.pairs, 2), prompt_words=8,
    answer_words=3, groups=dict.fromkeys(FULL.groups, 1), completions=4, answer_tokens=4, online=2, new_tokens=3, window=2,
    steps={"modpo": 2, "judge": 1, "moodpo": 2, "d2po": 2},
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """One part at work.

    Attributes:
        model: name of a shape.
        folder: for what it writes on the way.
        smollm2: folder of a real small model, if one was given.
    """

    model: str
    size: Size
    folder: Path
    deadline: Deadline
    smollm2: Path | None = None
    shape: Shape = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "shape", self.size.shapes[self.model])

    def configured(self) -> Path:
        """A folder with tokenizer and configuration alone: what reads it draws the weights on the device."""
        from transformers import Qwen2Config

        folder = self.folder / "model"
        write_tokenizer(folder)
        Qwen2Config(**TOKENS | self.shape).save_pretrained(folder)
        return folder

    def policy(self) -> Path:
        """A folder with random weights."""
        return self._random("policy", "Qwen2ForCausalLM", 0)

    def reward_models(self, count: int) -> list[Path]:
        """Folders of classifiers of the policy's shape."""
        return [self._random(f"rm{k}", "Qwen2ForSequenceClassification", k + 1, num_labels=1) for k in range(count)]

    def _random(self, name: str, model_class: str, seed: int, **settings: Any) -> Path:
        return random_checkpoint(
            self.folder / name, model_class, seed, self.size.dtype, **TOKENS | self.shape | settings
        )

    def real(self) -> Path:
        """SmolLM2 where it was given, else random weights."""
        return self.smollm2 or self.policy()

    def loaded(self) -> Any:
        """The model of `real`, or random weights of the shape that are never written."""
        return causal_model(self.smollm2 or self.configured(), self.size.dtype, self.size.device)
