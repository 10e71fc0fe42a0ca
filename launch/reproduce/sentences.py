"""`python -m launch small-language`: a word-level language model of half a million parameters, its text and its prompts.

The text is made by a small grammar (`launch.reproduce.grammar`), the same bytes for the same seed. Its words have known
shares of the text: the 30 of the gold function `bagofwords` from 0.8% down to 3 in 100,000, and two lists of which a
response of 20 words has one each (`launch.reproduce.words:words_a`, `words_b`). The model has learnt to continue sentences;
it never ends by itself. About a minute on one thread.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_builders.beside import check_new_folder, new_folder
from datasets_builders.choices import positive_integer, whole_number
from datasets_builders.command_line import Parser
from datasets_builders.io import write_json, write_jsonl
from datasets_builders.progress import progress
from launch.cli.verbs import verb_parser

from .grammar import sentences, vocabulary
from .random_model import make_llama
from .words import GOLD, A, B

if TYPE_CHECKING:
    import torch

SENTENCES, HELD_OUT = 20_000, 500
TRAIN_PROMPTS, TEST_PROMPTS, PROMPT_WORDS = 2_400, 128, 6
STEPS, BATCH, WINDOW, LEARNING_RATE = 400, 32, 48, 3e-3
# Also what `--discriminator_text_format question_answer` writes around a prompt and a response.
SPECIAL, FURTHER = ("<pad>", "<unk>", "<eos>", "<bos>"), ("Question", "Answer", ":")
# A conversation is its messages with a space between, so a reply continues its prompt, for every reader of conversations.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if not loop.last or add_generation_prompt %} {% endif %}{% endfor %}"
)


def make_prompts(seed: int, train: int = TRAIN_PROMPTS, test: int = TEST_PROMPTS) -> tuple[list[str], list[str]]:
    """So many beginnings of sentences for training and for testing, all different."""
    found: dict[str, None] = {}
    for words in sentences(f"{seed} prompts"):
        found[" ".join(words[:PROMPT_WORDS])] = None
        if len(found) == train + test:
            break
    prompts = list(found)
    return prompts[test:], prompts[:test]


def make_tokenizer(further: Sequence[str] = ()) -> Any:
    """One token a word, those of the text and of `further`, whose entries may be phrases: they are one token too.

    Raises:
        ValueError: a further word that is known already.
    """
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    numbers = {word: number for number, word in enumerate([*SPECIAL, *FURTHER, *vocabulary()])}
    inner = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>", bos_token="<bos>"
    )
    for place, word in enumerate(further):
        if word in numbers or word in further[:place]:
            raise ValueError(f"--further_words: {word!r} is known already, leave it out")
    # Whole words only: "20% sea" is not in "120% sea", nor "as" in "basket".
    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=False) for word in further])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(tokenizer: Any, seed: int) -> Any:
    """A fresh Llama of two layers, fp32; the output head is its own, since LoRA on a tied one changes two things at once."""
    numbers = {name: getattr(tokenizer, name) for name in ("pad_token_id", "eos_token_id", "bos_token_id")}
    return make_llama(seed, len(tokenizer), 128, 336, 2, tie_word_embeddings=False, **numbers)


def train(model: Any, tokens: "torch.Tensor", steps: int, seed: int) -> None:
    """AdamW on windows of `tokens` (N,) that begin anywhere."""
    import torch

    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.1, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps + 1, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    bar = progress(steps, "the language model", "steps")
    for _ in range(steps):
        loss = loss_of(model, windows(tokens, BATCH, generator))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        bar.set_postfix_str(f"loss {loss.item():.3f} nats a word", refresh=False)
        bar.update()
    bar.close()
    model.eval()


def windows(tokens: "torch.Tensor", count: int, generator: "torch.Generator") -> "torch.Tensor":
    """(count, WINDOW) pieces of `tokens` (N,)."""
    import torch

    starts = torch.randint(len(tokens) - WINDOW, (count,), generator=generator)
    return tokens.unfold(0, WINDOW, 1)[starts]


def loss_of(model: Any, ids: "torch.Tensor") -> "torch.Tensor":
    """Mean cross-entropy of the next word, in nats."""
    return model(input_ids=ids, labels=ids).loss


def describe(text: list[list[str]]) -> dict[str, Any]:
    """How long the sentences are, and the lists' shares of all words."""
    counts = Counter(word for words in text for word in words)
    total = sum(counts.values())
    lists = {"bagofwords": GOLD, "words_a": A, "words_b": B}
    return {
        "sentences": len(text),
        "words": total,
        "shares": {name: sum(counts[word] for word in words) / total for name, words in lists.items()},
        "share_of_word": {word: counts[word] / total for words in lists.values() for word in sorted(words)},
    }


def write_language(
    out: Path, seed: int, steps: int, train_prompts: int, test_prompts: int, further: Sequence[str] = ()
) -> dict[str, Any]:
    """Writes the folder, which appears whole or not at all; returns what `language.json` holds.

    Raises:
        ValueError: `out` is there already and not an empty folder, or see `make_tokenizer`.
    """
    check_new_folder(out)
    import torch

    text = list(itertools.islice(sentences(f"{seed} text"), SENTENCES))
    prompts, tests = make_prompts(seed, train_prompts, test_prompts)
    tokenizer = make_tokenizer(further)
    ids = [torch.tensor(tokenizer.convert_tokens_to_ids([w for s in part for w in s])) for part in
           (text[:-HELD_OUT], text[-HELD_OUT:])]  # fmt: skip
    model = make_model(tokenizer, seed)
    train(model, ids[0], steps, seed)
    with torch.no_grad():
        held_out = loss_of(model, windows(ids[1], 256, torch.Generator().manual_seed(0))).item()
    facts = {
        "seed": seed,
        "steps": steps,
        "parameters": model.num_parameters(),
        "vocabulary": len(tokenizer),
        "held_out_loss": held_out,
        **describe(text),
    }
    with new_folder(out) as folder:
        model.save_pretrained(folder / "lm")
        tokenizer.save_pretrained(folder / "lm")
        for name, rows in (("train", prompts), ("test", tests)):
            write_jsonl(folder / "prompts" / f"{name}.jsonl", ({"prompt": prompt} for prompt in rows))
        write_jsonl(folder / "text" / "train.jsonl", ({"text": " ".join(words)} for words in text))
        write_json(folder / "language.json", facts)
    return facts


def make_parser() -> Parser:
    """The command line."""
    parser = verb_parser("small-language", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="new folder for lm/, prompts/ and text/")
    parser.add_argument("--seed", type=int, default=0, help="another text, other prompts and another model for each")
    parser.add_argument(
        "--steps", type=whole_number, default=STEPS, help="training steps of the model; 0 leaves its random weights"
    )
    parser.add_argument(
        "--train", type=positive_integer, default=TRAIN_PROMPTS, metavar="N", help="prompts to train on"
    )
    parser.add_argument("--test", type=positive_integer, default=TEST_PROMPTS, metavar="N", help="other prompts")
    parser.add_argument(
        "--further_words",
        nargs="*",
        default=[],
        metavar="WORD",
        help="words or phrases, one token each, that prompts have and the text has not",
    )
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    facts = write_language(args.out, args.seed, args.steps, args.train, args.test, args.further_words)
    shares = ", ".join(f"{name} {100 * share:.2f}%" for name, share in facts["shares"].items())
    print(
        f"{args.out}: {facts['parameters']} parameters, {facts['vocabulary']} words, loss {facts['held_out_loss']:.3f} nats a word "
        f"on new sentences; shares of the text: {shares}"
    )
    return 0
