"""A language model of a few hundred thousand random weights, with its tokenizer, for runs that take a minute on a CPU."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

PAD, START, END = SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# What ms-swift's template `chatml` writes.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ROLES = "system\nuser\nassistant\n"
HEAD = 32  # numbers of a layer's state that one attention head reads


def write_tokenizer(folder: Path, texts: Iterable[str], vocabulary: int) -> int:
    """Byte-level BPE learnt from `texts`, digits apart, with a chat template; returns how many tokens it knows.

    Every text can be written in it. The same texts give the same bytes.

    Args:
        vocabulary: the most tokens, bytes and special ones included; fewer where the texts have fewer parts.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    learnt = Tokenizer(models.BPE())
    parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    learnt.pre_tokenizer = pre_tokenizers.Sequence(parts)
    learnt.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learnt.train_from_iterator([ROLES, *texts], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=learnt, bos_token=START, eos_token=END, pad_token=PAD)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def write_random_model(
    folder: Path, texts: Iterable[str], seed: int, *, vocabulary: int = 640, hidden: int = 96, layers: int = 3
) -> int:
    """A random Llama (fp32) with a tokenizer for `texts`; returns its number of weights.

    Args:
        hidden: numbers of a token's state, a multiple of 32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = write_tokenizer(folder, texts, vocabulary)
    numbers = {f"{name}_token_id": SPECIAL.index(text) for name, text in (("pad", PAD), ("bos", START), ("eos", END))}
    model = make_llama(seed, known, hidden, 8 * hidden // 3, layers, tie_word_embeddings=True, **numbers)
    model.save_pretrained(folder)
    return model.num_parameters()


def make_llama(seed: int, vocabulary: int, hidden: int, inner: int, layers: int, **settings: Any) -> Any:
    """A Llama of random weights, fp32, the same for the same seed, for texts of at most 256 tokens.

    Args:
        hidden: numbers of a token's state, a multiple of 32; `inner`: those of the layer between two of them.
        settings: further ones of `LlamaConfig`.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=hidden // HEAD,
        num_key_value_heads=hidden // HEAD,
        max_position_embeddings=256,
        **settings,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
