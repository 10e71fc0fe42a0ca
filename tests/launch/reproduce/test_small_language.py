"""The made language: the same bytes for the same seed, words with the shares they were given, a model that continues."""

import hashlib
import itertools
import json
from collections import Counter

import pytest

from launch.__main__ import main as launch
from launch.reproduce.grammar import LONGEST, SHORTEST, sentences, vocabulary
from launch.reproduce.sentences import PROMPT_WORDS, TEST_PROMPTS, TRAIN_PROMPTS, make_prompts
from launch.reproduce.words import GOLD, PLAIN, TOPICS, A, B, enough_a, enough_b, gold_shares, words_a, words_b
from trl_ext.d2po.gold import get_gold
from trl_ext.d2po.gold.words import BAG
from trl_ext.objectives.text import call_text_function


def text_of(seed, count=20_000):
    return list(itertools.islice(sentences(f"{seed} text"), count))


@pytest.fixture(scope="module")
def text():
    return text_of(0)


def test_the_same_seed_gives_the_same_bytes_everywhere(text):
    """The digest was taken once; a change of the grammar or of its words changes it, and every result made of them."""
    joined = "\n".join(" ".join(words) for words in text[:1000])
    assert (
        hashlib.sha256(joined.encode()).hexdigest()
        == "32c9f1fcd6a6058948bf792217ce41fece2d2f07ed548597c2f6f90935fec698"
    )
    assert text_of(0, 50) == text[:50] != text_of(1, 50)


def test_sentences_end_in_a_full_stop_and_have_known_words(text):
    assert {words[-1] for words in text} == {"."} and all("." not in words[:-1] for words in text)
    lengths = [len(words) for words in text]
    assert min(lengths) == SHORTEST and max(lengths) == LONGEST and 15 < sum(lengths) / len(text) < 25
    known = vocabulary()
    assert {word for words in text for word in words} == set(known) and 500 < len(known) < 1500


def test_every_listed_word_has_its_share_of_the_text(text):
    counts = Counter(word for words in text for word in words)
    total = sum(counts.values())
    for words in (A, B):  # one in a response of twenty
        assert sum(counts[word] for word in words) / total == pytest.approx(0.05, abs=0.002)
        assert min(counts[word] for word in words) > 300
    expected = gold_shares()
    assert max(expected.values()) < 0.01 and 1e-5 < min(expected.values()) < 1e-4
    for word, share in expected.items():  # within four standard deviations of a draw
        assert abs(counts[word] - share * total) < 4 * (share * total) ** 0.5 + 1, word


def test_a_word_belongs_to_one_class_and_the_lists_do_not_overlap():
    words = [*GOLD, *itertools.chain(*PLAIN.values()), *itertools.chain(*TOPICS.values())]
    assert [word for word, count in Counter(words).items() if count > 1] == []
    assert set(GOLD) == BAG and len(A) == len(B) == 20 and set(words) >= A | B


def test_the_rewards_count_different_words_of_their_list():
    responses = ["the boats saw a boat , the boat and one tide.", "Boat rose", ""]
    assert enough_a([""] * 3, responses) == [2 / 3, 0.0, 0.0] and enough_b([""] * 3, responses) == [0.0, 0.5, 0.0]
    assert words_a([""] * 3, responses) == [2.0, 0.0, 0.0] and words_b([""] * 3, responses) == [0.0, 1.0, 0.0]
    assert call_text_function("launch.reproduce.words.words_a", [""], ["a wave"], [2]) == [1.0]
    assert get_gold("launch.reproduce.words:words_b")(["x"], ["a rose"]) == [1.0]


def test_prompts_are_beginnings_and_none_is_in_both_files():
    prompts, tests = make_prompts(0)
    assert (len(prompts), len(tests)) == (TRAIN_PROMPTS, TEST_PROMPTS) and len({*prompts, *tests}) == len(
        prompts + tests
    )
    assert {len(prompt.split()) for prompt in prompts + tests} == {PROMPT_WORDS}
    assert make_prompts(0) == (prompts, tests) != make_prompts(1)
    assert make_prompts(0, 3, 2) == ([*tests[2:5]], tests[:2])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    for name in ("one", "two"):
        assert launch(["small-language", "--out", str(root / name), "--steps", "12"]) == 0
    return root


def test_the_folder_is_the_same_twice_and_is_never_written_over(folders, capsys):
    files = [path.relative_to(folders / "one") for path in sorted((folders / "one").rglob("*")) if path.is_file()]
    assert {"lm/model.safetensors", "prompts/train.jsonl", "text/train.jsonl", "language.json"} <= set(map(str, files))
    for file in files:
        assert (folders / "one" / file).read_bytes() == (folders / "two" / file).read_bytes(), file
    assert launch(["small-language", "--out", str(folders / "one"), "--steps", "1"]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert sorted(path.name for path in folders.iterdir()) == ["one", "two"]


def test_the_model_learns_and_its_conversations_are_continuations(folders):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    facts = json.loads((folders / "one" / "language.json").read_text())
    assert facts["parameters"] < 600_000 and 2 < facts["held_out_loss"] < 6.3  # an untrained one: log 690 = 6.5
    tokenizer = AutoTokenizer.from_pretrained(folders / "one" / "lm")
    model = AutoModelForCausalLM.from_pretrained(folders / "one" / "lm")
    assert not model.config.tie_word_embeddings
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    row = json.loads((folders / "one" / "prompts" / "test.jsonl").read_text().splitlines()[0])
    asked = [{"role": "user", "content": row["prompt"]}]
    render = tokenizer.apply_chat_template
    before = render(asked, tokenize=False, add_generation_prompt=True)
    whole = render([*asked, {"role": "assistant", "content": "the boat ."}], tokenize=False)
    assert before == row["prompt"] + " " and whole == before + "the boat ."
    ids = tokenizer(whole)["input_ids"]
    assert tokenizer.unk_token_id not in ids and tokenizer.decode(ids) == whole
    asked_as_question = tokenizer(f"Question: {row['prompt']}\n\nAnswer: the boat .{tokenizer.eos_token}")["input_ids"]
    assert tokenizer.unk_token_id not in asked_as_question and asked_as_question[-1] == tokenizer.eos_token_id
