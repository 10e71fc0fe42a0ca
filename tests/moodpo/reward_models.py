"""Tiny random classifiers with the heads, the special tokens and the pair formats of the known reward models."""

from pathlib import Path


def build_reward_tokenizer(folder: Path, kind: str, limit: int | None = None) -> None:
    """A byte-level tokenizer of 400 entries: `gpt2` puts nothing around its texts, `bart` and `bert` mark their ends."""
    from tokenizers import processors
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    from tests.tiny import build_tokenizer

    build_tokenizer(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    backend = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    # The three special tokens of the tiny tokenizer, 0 <|endoftext|>, 1 <|im_start|>, 2 <|im_end|>, in other roles.
    first, end, pad = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
    ids = [(first, 1), (end, 2)]
    if kind == "gpt2":
        special = {"bos_token": pad, "eos_token": pad}
    elif kind == "bart":
        special = {"bos_token": first, "eos_token": end, "pad_token": pad}
        backend.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {end}", pair=f"{first} $A {end} {end} $B {end}", special_tokens=ids
        )
    else:
        special = {"cls_token": first, "sep_token": end, "pad_token": pad}
        backend.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {end}", pair=f"{first} $A {end} $B:1 {end}:1", special_tokens=ids
        )
    settings = {} if limit is None else {"model_max_length": limit}
    PreTrainedTokenizerFast(tokenizer_object=backend, **special, **settings).save_pretrained(folder)


def build_reward_model(
    folder: Path, kind: str, labels: int, seed: int = 0, limit: int | None = None, pad=None, positions: int = 2048
) -> Path:
    """`gpt2`, `bart`, `distilbert` or `deberta` with `labels` logits; `pad` and `positions` are those of a gpt2."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    build_reward_tokenizer(folder, kind if kind in ("gpt2", "bart") else "bert", limit)
    # Names of its own for the labels, as the originals have: a configuration of two unnamed ones is saved without a
    # number of labels, and BART then takes three.
    heads = {"id2label": {k: f"kind {k}" for k in range(labels)}, "label2id": {f"kind {k}": k for k in range(labels)}}
    if kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=400,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=positions,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=pad,
            **heads,
        )
        name = "GPT2ForSequenceClassification"
    elif kind == "bart":
        config = transformers.BartConfig(
            vocab_size=400,
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=1024,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            decoder_start_token_id=2,
            forced_eos_token_id=2,
            **heads,
        )
        name = "BartForSequenceClassification"
    elif kind == "distilbert":
        config = transformers.DistilBertConfig(
            vocab_size=400,
            dim=32,
            n_layers=2,
            n_heads=4,
            hidden_dim=64,
            max_position_embeddings=512,
            pad_token_id=0,
            **heads,
        )
        name = "DistilBertForSequenceClassification"
    else:
        config = transformers.DebertaV2Config(
            vocab_size=400,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=512,
            type_vocab_size=2,
            pad_token_id=0,
            **heads,
        )
        name = "DebertaV2ForSequenceClassification"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, name)(config)
        for parameter in model.parameters():  # large enough that different texts score visibly differently
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder


KINDS = {
    "helpful": ("gpt2", 1),
    "harmless": ("gpt2", 1),
    "humor": ("distilbert", 2),
    "summary": ("gpt2", 1),
    "faithful": ("bart", 2),
    "deberta": ("deberta", 1),
}


def build_registry(folder: Path) -> dict[str, Path]:
    """One tiny model for each name of the registry; as with the originals some gpt2 have a pad id and some have none."""
    return {
        name: build_reward_model(folder / name, kind, labels, seed, pad=0 if name in ("harmless", "summary") else None)
        for seed, (name, (kind, labels)) in enumerate(KINDS.items())
    }
