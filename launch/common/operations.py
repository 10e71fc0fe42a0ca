"""Floating-point operations of a dense decoder's step, and the share of a GPU's peak that they are (MFU). No torch.

A token takes 2 operations for each weight of a matrix product on the way forward and 4 on the way back, half of them for the
weight's gradient (Kaplan et al., arXiv 2001.08361, section 2.1), and 4 L T d for attention over T tokens in L layers of width d
forward, twice that back (Chowdhery et al., arXiv 2204.02311, appendix B). As there, the causal half of attention is not
taken off, and what gradient checkpointing computes again does not count. Here, besides: a frozen matrix has no gradient, so
under a LoRA its way back takes 2; the LoRA's own operations (below 1%) are left out; the output head counts at the tokens
whose log-probs the loss reads, whatever else an implementation computes; a prompt that is computed once counts once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Shape = Mapping[str, int | bool]  # fields of a Llama or Qwen2 configuration

SHAPES: dict[str, dict] = {
    "0.5B": {
        "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True,
    },
    "1.5B": {
        "vocab_size": 151_936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
        "num_attention_heads": 12, "num_key_value_heads": 2, "tie_word_embeddings": True,
    },
    "7B": {
        "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4,
    },
    "70B": {
        "vocab_size": 128_256, "hidden_size": 8192, "intermediate_size": 28_672, "num_hidden_layers": 80,
        "num_attention_heads": 64, "num_key_value_heads": 8,
    },
    "135M": {
        "vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
    },
}  # fmt: skip

# Operations a second in bf16 with fp32 sums, dense, by the whole name that CUDA gives the device; NVIDIA's data sheets, whose
# figure with sparsity is twice this. A name that is not here (a MIG slice, another board) has no peak, rather than a near one.
PEAKS = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100 80GB HBM3": 989e12,  # SXM
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA GeForce RTX 4090": 165e12,
}


@dataclass(frozen=True)
class Method:
    """Passes over one sequence in a step, for each sequence that is trained.

    Attributes:
        trained: sequences of one pair or prompt with a forward and a backward pass.
        scored: forward passes on top, over models of the policy's size (reference, margins, rewards, discriminator).
        sampled: completions of one prompt.
        models: further models of the policy's size that are held, beside adapters of the policy.
    """

    trained: int
    scored: int
    sampled: int = 0
    models: int = 0


METHODS = {
    "MODPO, precomputed": Method(trained=2, scored=0),
    "MODPO, one live margin": Method(trained=2, scored=4),
    "MOODPO, 2 reward models": Method(trained=2, scored=2 + 4, sampled=2, models=2),
    "D2PO, best of 4": Method(trained=2, scored=2 + 4, sampled=4, models=1),
    "GRPO reward model or judge, 8 answers": Method(trained=8, scored=8, sampled=8),
}


@dataclass(frozen=True)
class Rows:
    """Sequences of equal length that go through a model together.

    Attributes:
        count: sequences.
        tokens: of each.
        read: of each, those at which a log-prob is read.
    """

    count: int
    tokens: float
    read: float

    @classmethod
    def of(cls, prompts: int, answers: int, prompt: float, answer: float, shared: bool) -> "Rows":
        """`answers` to each of `prompts`, of `answer` and `prompt` tokens; `shared`: a prompt stands once before its answers."""
        if shared:
            return cls(prompts, prompt + answers * answer, answers * answer)
        return cls(prompts * answers, prompt + answer, answer)


def _parts(shape: Shape, rows: Rows) -> tuple[float, float]:
    """Operations of a forward pass with weights and without."""
    width, heads, layers = (shape[f"{name}"] for name in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    keys = width * shape["num_key_value_heads"] // heads
    matrices = 2 * width * width + 2 * width * keys + 3 * width * shape["intermediate_size"]
    head = width * shape["vocab_size"]
    weights = 2 * rows.count * (rows.tokens * layers * matrices + rows.read * head)
    return weights, 4 * rows.count * layers * rows.tokens**2 * width


def parameters(shape: Shape) -> int:
    """Weights of the matrices, the embedding and the head among them; norms and biases (below 0.1%) are left out."""
    width, heads, layers = (
        int(shape[f"{name}"]) for name in ("hidden_size", "num_attention_heads", "num_hidden_layers")
    )
    keys = width * int(shape["num_key_value_heads"]) // heads
    matrices = 2 * width * width + 2 * width * keys + 3 * width * int(shape["intermediate_size"])
    tables = 1 if shape.get("tie_word_embeddings") else 2
    return layers * matrices + tables * width * int(shape["vocab_size"])


def cache_bytes(shape: Shape) -> int:
    """Bytes of keys and values of one token in bf16."""
    keys = int(shape["hidden_size"]) * int(shape["num_key_value_heads"]) // int(shape["num_attention_heads"])
    return 2 * 2 * keys * int(shape["num_hidden_layers"])


def forward_operations(shape: Shape, rows: Rows) -> float:
    """Operations of one forward pass."""
    return sum(_parts(shape, rows))


def backward_operations(shape: Shape, rows: Rows, lora: bool) -> float:
    """Operations of one backward pass; with `lora` no matrix of the model has a gradient."""
    weights, attention = _parts(shape, rows)
    return (1 if lora else 2) * weights + 2 * attention


def step_operations(shape: Shape, rows: Rows, lora: bool, forwards: float = 0) -> float:
    """Operations of a step that trains on `rows` and passes `forwards` times over them without gradients besides."""
    return (1 + forwards) * forward_operations(shape, rows) + backward_operations(shape, rows, lora)


def utilisation(operations: float, seconds: float, device: str) -> float | None:
    """Share of the device's peak; None for one whose peak is not known here."""
    peak = PEAKS.get(device)
    return None if peak is None else operations / (seconds * peak)


@dataclass(frozen=True)
class Machine:
    """A GPU and its network. The defaults are an H100's data sheet and common practice, not measurements of ours.

    Attributes:
        peak: bf16 operations a second.
        reached: share of it that training reaches.
        memory: bytes a second of its memory.
        node_link, net_link: bytes a second of one GPU to its node and to other nodes.
        per_node: GPUs of a node.
    """

    peak: float = PEAKS["NVIDIA H100 80GB HBM3"]
    reached: float = 0.4
    memory: float = 3.35e12
    node_link: float = 450e9
    net_link: float = 50e9
    per_node: int = 8


def bytes_of_a_token(weights: float, answers: int, tokens: float, answer: float, cache: float) -> float:
    """Bytes that are read to draw one more token of each of `answers`: all weights, and the caches half way through.

    Args:
        weights: bytes.
        tokens, answer: of a whole sequence, and of these of its answer.
        cache: bytes of one token's keys and values.
    """
    return weights + answers * (tokens - answer / 2) * cache
