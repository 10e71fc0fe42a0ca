"""A tiny random Llama with a real tokenizer, and small preference data, made on the spot."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

SENTENCES = [
    "The river carries cold water from the mountains to the sea.",
    "A short answer is often the kindest answer.",
    "Bread needs flour, water, salt, yeast and patience.",
    "Why is the sky blue? Because the air scatters short waves more than long ones.",
    "Tell me how to plant a tree in a small garden.",
    "She walked to the library and read about astronomy until evening.",
    "Good tools make light work of a heavy task.",
    "Name three animals that live in the forest.",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(folder: Path, pad_token: str = "<|endoftext|>") -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token=pad_token
    )
    if pad_token != "<|endoftext|>":
        fast.add_special_tokens({"unk_token": "<|endoftext|>"})  # stays a special token
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def random_llama(name: str, seed: int, **settings):
    """A transformers Llama of class `name`: 2 layers, hidden size 32, fp32, the same for the same seed."""
    import torch
    import transformers

    shape = {
        "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 256,
    }  # fmt: skip
    config = transformers.LlamaConfig(**shape | settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, name)(config)
        for parameter in model.parameters():  # large enough that log-probs of different responses differ visibly
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    return model


def add_rows(model, tokens: int, seed: int) -> None:
    """Embeddings for `tokens` tokens; the new rows are drawn, the same for the same seed."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.resize_token_embeddings(tokens, mean_resizing=False)


def build_model(
    folder: Path, seed: int = 0, pad_token: str = "<|endoftext|>", end_gain: float = 1.0, **settings
) -> Path:
    """A language model and its tokenizer; `end_gain` > 1 makes the end token louder, so that some answers end early."""
    folder.mkdir(parents=True, exist_ok=True)
    build_tokenizer(folder, pad_token)
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    model = random_llama("LlamaForCausalLM", seed, tie_word_embeddings=True, **tokens, **settings)
    model.lm_head.weight.data[model.config.eos_token_id] *= end_gain
    model.save_pretrained(folder)
    return folder


def build_adapter(
    model_dir: Path, folder: Path, seed: int = 1, std: float = 0.2, target_modules: Sequence[str] = ("q_proj", "v_proj")
) -> Path:
    """A LoRA adapter on `model_dir` whose weights are random, so that it has an opinion; with `std` 0 it has none."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_dir)
    how = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": list(target_modules)}
    config = LoraConfig(task_type="CAUSAL_LM", **how)
    model = get_peft_model(model, config)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=std)
    model.save_pretrained(folder)
    return folder


def preference_rows(count: int = 24, seed: int = 0) -> list[dict]:
    """Rows in ms-swift's format with responses of different length."""
    generator = random.Random(seed)
    rows = []
    for index in range(count):
        words = " ".join(generator.choice(SENTENCES).split()[: generator.randint(2, 9)])
        other = " ".join(generator.sample(SENTENCES, 2))[: generator.randint(10, 60)]
        rows.append(
            {
                "messages": [
                    {"role": "user", "content": f"{generator.choice(SENTENCES)} ({index})"},
                    {"role": "assistant", "content": words},
                ],
                "rejected_response": other,
            }
        )
    return rows


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def build_classifier(folder: Path, chat: bool = True, labels: int = 3, seed: int = 3) -> Path:
    """A Llama classifier of `labels` logits; without `chat` its tokenizer has no chat template."""
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    build_tokenizer(folder)
    if not chat:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        tokenizer.chat_template = None
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        tokenizer.save_pretrained(folder)
    random_llama("LlamaForSequenceClassification", seed, pad_token_id=0, num_labels=labels).save_pretrained(folder)
    return folder


SCORES = tuple(f"<s>{score}</s>" for score in range(0, 101, 10))
VERDICTS = tuple(f"<preference>{label}</preference>" for label in ("A", "B", "tie"))


def build_scoring_model(
    folder: Path, seed: int = 0, malformed: float = 0.0, answers: tuple[str, ...] = SCORES, **settings
) -> Path:
    """A language model whose `answers` (scores `<s>0</s>` ... `<s>100</s>`, or `VERDICTS`) are one token each.

    Every token's embedding has the same large first entry, which therefore survives in the last hidden state; the output
    rows of the answers read it, so that they are likely whatever the prompt is. `malformed` > 0 makes the end token
    as loud as the scores times it: then some answers are empty.
    """
    from transformers import AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    build_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(list(answers))
    tokenizer.save_pretrained(folder)
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    model = random_llama("LlamaForCausalLM", seed, tie_word_embeddings=False, **tokens, **settings)
    add_rows(model, len(tokenizer), seed)
    weights = model.lm_head.weight.data
    model.model.embed_tokens.weight.data[:, 0] = 3.0
    weights[:, 0] = -2.0
    weights[400:, 0] = 2.0
    if malformed:
        weights[2, 0] = 2.0 * malformed
    model.save_pretrained(folder)
    return folder


def build_tiny_judge(folder: Path, seed: int = 0) -> Path:
    """A Llama whose answers are verdicts, each one token and about equally likely, made as in `build_scoring_model`.

    Sampled with the three likeliest tokens it always gives a verdict. Its limit is above what a judge's prompt takes.
    """
    from transformers import AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    build_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(list(VERDICTS))
    tokenizer.save_pretrained(folder)
    model = random_llama(
        "LlamaForCausalLM", seed, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0
    )
    add_rows(model, len(tokenizer), seed)
    weights = model.lm_head.weight.data
    model.model.embed_tokens.weight.data[:, 0] = 3.0
    weights[:, 0] = -4.0
    weights[400:, 0] = 4.0
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    return folder


def judging_rows(pairs: int = 8, seed: int = 0) -> list[dict]:
    """Both orders of pairs whose labels are A, B and tie in turn."""
    from datasets_builders.judging.prompt import PairwisePrompt
    from datasets_builders.judging.rows import PairToJudge

    words, prompt, rows = random.Random(seed), PairwisePrompt(), []
    for pair in range(pairs):
        first, second = (f"{words.choice(SENTENCES)} {pair}.{side}" for side in (0, 1))
        strength = (-2.0, 1.0, 0.0)[pair % 3]
        turns = ({"role": "user", "content": words.choice(SENTENCES)},)
        made = PairToJudge(turns, (first, second), ("A", "B", "tie")[pair % 3], strength, source="made")
        rows += [
            {**row, "messages": [{"role": "user", "content": row["messages"][0]["content"][-120:]}]}
            for row in made.rows(prompt)
        ]
    return rows


def scoring_rows(pairs: int = 8, seed: int = 0) -> list[dict]:
    """Pointwise rows, two a pair, whose preferred sides alternate."""
    words = random.Random(seed)
    rows = []
    for pair in range(pairs):
        for side in (0, 1):
            text = f"{words.choice(SENTENCES)} {pair}.{side} Score it."
            rows.append(
                {
                    "messages": [{"role": "user", "content": text}],
                    "pair_id": pair,
                    "side": side,
                    "preferred_side": pair % 2,
                    "parser_name": "score100_last",
                }
            )
    return rows
