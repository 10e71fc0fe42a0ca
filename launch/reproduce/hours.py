"""How long a run takes on one GPU, from counted operations and bytes. Estimates: no number of this module was measured.

The operations are those of `launch.common.operations`, the machine is its H100 by the data sheet, of whose peak training is
assumed to reach two fifths. A prompt that answers share counts once for each of them, which makes the estimate too long where
it is computed once.
"""

from collections.abc import Mapping

from launch.common.operations import (
    Machine,
    Rows,
    Shape,
    bytes_of_a_token,
    cache_bytes,
    forward_operations,
    parameters,
    step_operations,
)

GPU = Machine()
START = 0.05  # hours: a program loads its libraries, a model, and vLLM where it draws; assumed
SLOWEST_TOKEN = 0.03  # seconds from one token to the next where transformers draws: Python starts every kernel; assumed


def trained(shape: Shape, steps: int, rows: Rows, references: int = 0) -> float:
    """Hours of `steps` with a LoRA and gradient checkpointing, which passes forward twice.

    Args:
        rows: of one step.
        references: models of the policy's size that also read them.
    """
    return _computed(steps * step_operations(shape, rows, lora=True, forwards=1 + references))


def read(shape: Shape, rows: Rows) -> float:
    """Hours in which a model reads rows and writes nothing."""
    return _computed(forward_operations(shape, rows))


def drawn(shape: Shape, batches: int, answers: int, tokens: float, answer: float, vllm: bool) -> float:
    """Hours in which `batches` of `answers` side by side are drawn, the longest of `answer` tokens and `tokens` in all."""
    held = bytes_of_a_token(2 * parameters(shape), answers, tokens, answer, cache_bytes(shape))
    seconds = held / GPU.memory
    return batches * answer * (seconds if vllm else max(seconds, SLOWEST_TOKEN)) / 3600


def _computed(operations: float) -> float:
    return operations / (GPU.peak * GPU.reached) / 3600


def in_words(hours: float) -> str:
    """`estimated: 2.4 hours`."""
    return f"estimated: {hours:.1f} hours" if hours >= 1 else f"estimated: {60 * hours:.0f} minutes"


def total(hours: Mapping[str, float]) -> str:
    """The sum, and what it is worth."""
    return (
        f"estimated, never measured: {sum(hours.values()):.0f} hours for {len(hours)} runs on one H100 of 80 GB, if training "
        f"reaches {GPU.reached:.0%} of {GPU.peak / 1e12:.0f} Tflop/s; downloads and preparation come on top"
    )
