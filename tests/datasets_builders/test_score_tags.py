"""Tags that a tokenizer takes for its own special tokens, shown with a Llama-2-like one."""

import pytest

from datasets_builders.scoring.parsers import PARSERS
from datasets_builders.scoring.tags import EXAMPLES, refuse_swallowed_tags, tags_survive
from tests.tiny import build_tokenizer

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    build_tokenizer(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def like_llama2(plain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama2")
    plain.save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    return tokenizer


@pytest.mark.parametrize("answer", EXAMPLES.values())
def test_a_tokenizer_that_writes_tags_as_text_is_accepted(plain, answer):
    assert tags_survive(plain, answer) and tags_survive(plain, f"It is fine.\n{answer}")
    refuse_swallowed_tags(plain, answer)


@pytest.mark.parametrize("name", ["score100", "score5"])
def test_s_as_first_and_last_token_is_refused_with_what_is_left(like_llama2, name):
    answer = EXAMPLES[name]
    left = like_llama2.decode(like_llama2.encode(answer, add_special_tokens=False), skip_special_tokens=True)
    assert PARSERS[f"{name}_last"](answer) is not None and PARSERS[f"{name}_last"](left) is None
    with pytest.raises(ValueError, match=r"takes </s>, <s> of .*decodes to '(72|4\.5)'.*Qwen2\.5"):
        refuse_swallowed_tags(like_llama2, answer)
    assert tags_survive(like_llama2, EXAMPLES["preference"])
