"""ms-swift's own engine and the one that prefills a prompt once draw the same tokens, in models with windows too."""

import pytest
import torch

from tests.tiny import SENTENCES, build_tokenizer

from .test_architectures import EXACT, tiny

pytest.importorskip("swift")

TYPES = {"llama": "llama", "mistral, window": "mistral", "qwen2, window": "qwen2", "gemma3, window": "gemma3_text"}


@pytest.fixture(scope="module", params=TYPES)
def engines(request, tmp_path_factory):
    """(ms-swift's engine, ours) of one model."""
    from swift.infer_engine import TransformersEngine

    from swift_ext.shared_prefix.prefill import SharedPrefillEngine

    folder = tmp_path_factory.mktemp("engine")
    name, settings = EXACT[request.param]
    tiny(name, **settings).save_pretrained(folder)
    build_tokenizer(folder)
    options = {"model_type": TYPES[request.param], "template_type": "chatml", "torch_dtype": torch.float32}
    plain = TransformersEngine(str(folder), max_batch_size=0, **options)
    return plain, SharedPrefillEngine(plain.model, template=plain.template, max_batch_size=0)


def drawn(engine, rows: list[str], **request):
    """(tokens and their log-probs of every answer, shapes of the forward passes)."""
    from swift.infer_engine import InferRequest, RequestConfig

    shapes = []
    hook = engine.model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    config = RequestConfig(max_tokens=12, temperature=1.0, logprobs=True, **request)
    torch.manual_seed(3)
    try:
        answers = engine.infer([InferRequest(messages=[{"role": "user", "content": row}]) for row in rows], config)
    finally:
        hook.remove()
    return [choice.logprobs["content"] for answer in answers for choice in answer.choices], shapes


def same(one, other):
    assert [[token["token"] for token in answer] for answer in one] == [
        [token["token"] for token in answer] for answer in other
    ]
    for mine, theirs in zip(one, other, strict=True):
        assert [token["logprob"] for token in mine] == pytest.approx([token["logprob"] for token in theirs], abs=1e-4)


def test_the_same_tokens_are_drawn_and_a_prompt_is_prefilled_once(engines):
    rows = [SENTENCES[0]] * 3 + [" ".join(SENTENCES[1:4])] * 3 + [SENTENCES[0]]
    (plain, plain_shapes), (shared, shapes) = (drawn(engine, rows) for engine in engines)
    same(plain, shared)
    assert len({tuple(token["token"] for token in answer) for answer in plain}) > 3
    columns = plain_shapes[0][1]
    assert plain_shapes[0] == (7, columns) and shapes[:2] == [(2, columns - 1), (7, 1)]


def test_what_generate_would_repeat_itself_and_rows_of_their_own_are_left_to_it(engines):
    for rows, request in ((SENTENCES[:2] * 2, {"n": 2}), (SENTENCES[:3], {})):
        (plain, plain_shapes), (shared, shapes) = (drawn(engine, rows, **request) for engine in engines)
        same(plain, shared)
        assert plain_shapes == shapes
