"""Models of every measured type, tiny and random: logits and gradients are those of a plain pass; others are refused."""

import pytest
import torch
import transformers
from torch.nn.attention.flex_attention import create_mask

from trl_ext.shared_prefix.attention import ABSOLUTE_POSITIONS, attention_mask, measured, why_not
from trl_ext.shared_prefix.choice import SharedPrefixes, choose, noise_of
from trl_ext.shared_prefix.layout import shared_layout
from trl_ext.shared_prefix.model import SharedPrefixModel

from .test_layout import padded

VOCABULARY, WINDOW = 400, 8
END = {"eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 1}
LLAMA_4 = {"head_dim": 8, "intermediate_size_mlp": 64, "num_local_experts": 2, "attention_chunk_size": 16}
OLD_GPT = {
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 256,
    "attn_pdrop": 0,
    "resid_pdrop": 0,
    "embd_pdrop": 0,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
DEEPSEEK = {
    "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2,
    "first_k_dense_replace": 1, "moe_intermediate_size": 16,
}  # fmt: skip
QWEN3_NEXT = EXPERTS | {
    "head_dim": 8, "shared_expert_intermediate_size": 16, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
WINDOWED = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}
LAYERS = {"layer_types": ["sliding_attention", "full_attention"]}
EXACT = {
    "llama": ("Llama", {}),
    "llama, dynamic RoPE": ("Llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral, window": ("Mistral", {"sliding_window": WINDOW}),
    "mixtral, window": ("Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": WINDOW}),
    "qwen2": ("Qwen2", {}),
    "qwen2, window": ("Qwen2", WINDOWED),
    "qwen2_moe": ("Qwen2Moe", EXPERTS | {"shared_expert_intermediate_size": 16}),
    "qwen3": ("Qwen3", {"head_dim": 8}),
    "qwen3_moe, window": ("Qwen3Moe", EXPERTS | {"head_dim": 8, "use_sliding_window": True, "sliding_window": WINDOW}),
    "gemma": ("Gemma", {"head_dim": 8}),
    "gemma2, window": ("Gemma2", {"head_dim": 8, "sliding_window": WINDOW}),
    "gemma3, window": ("Gemma3Text", {"head_dim": 8, "sliding_window": WINDOW} | LAYERS),
    "phi": ("Phi", {}),
    "phi3, window": ("Phi3", {"sliding_window": WINDOW}),
    "gpt2": ("GPT2", OLD_GPT),
    "gpt_bigcode": ("GPTBigCode", OLD_GPT),
    "gpt_neox": ("GPTNeoX", {}),
    "opt": ("OPT", {"ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0}),
    "stablelm": ("StableLm", {}),
    "cohere": ("Cohere", {}),
    "cohere2, window": ("Cohere2", {"sliding_window": WINDOW} | LAYERS),
    "olmo": ("Olmo", {}),
    "olmo2": ("Olmo2", {}),
    "olmo3, window": ("Olmo3", {"sliding_window": WINDOW} | LAYERS),
    "granite": ("Granite", {}),
    "smollm3, window": ("SmolLM3", WINDOWED | LAYERS),
    "starcoder2, window": ("Starcoder2", {"sliding_window": WINDOW}),
    "deepseek_v3": ("DeepseekV3", DEEPSEEK),
}
CLASSES = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}


def config_of(name, **settings):
    base = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    }  # fmt: skip
    return getattr(transformers, f"{name}Config")(**(base | END | settings))


def tiny(name, attention="sdpa", **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind = getattr(transformers, CLASSES.get(name, f"{name}ForCausalLM"))
        if attention == "sdpa" and not kind._supports_sdpa:  # Gemma-2 in transformers 5.23
            attention = "eager"
        model = kind._from_config(config_of(name, **settings), attn_implementation=attention)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


def batch():
    """Two pairs of two sides of three answers each, longer than the window; and the stream of each pair."""
    draw = torch.Generator().manual_seed(1)

    def some(count):
        return torch.randint(3, VOCABULARY, (count,), generator=draw).tolist()

    rows, stream = [], []
    for pair in range(2):
        instruction = some(10 + 7 * pair)
        for side in range(2):
            prompt = instruction + some(5 + 4 * side + pair)
            rows += [prompt + some(3 + k + side) for k in range(3)]
            stream += [pair] * 3
    return rows, torch.tensor(stream)


def logps(model, ids, mask, kept=12, **kwargs):
    """(B, kept - 1) log-probs of the last tokens, 0 on padding; a gradient of all that differ is left in the model."""
    model.zero_grad() if isinstance(model, torch.nn.Module) else model.model.zero_grad()
    logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=kept, use_cache=False, **kwargs).logits
    labels, real = ids[:, -kept + 1 :], (mask[:, -kept + 1 :] * mask[:, -kept:-1])
    values = logits[:, :-1].float().log_softmax(-1).gather(-1, labels[..., None])[..., 0] * real
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(3))
    (values * weights).sum().backward()
    return values.detach()


def gradient(model):
    return torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])


def shared(model, stream, **kwargs):
    return SharedPrefixModel(model, SharedPrefixes(always=True, say=lambda text: None, **kwargs), stream)


@pytest.mark.parametrize("case", EXACT)
def test_logits_and_gradients_are_those_of_a_plain_pass(case):
    name, settings = EXACT[case]
    model = tiny(name, **settings)
    assert why_not(model.config) is None
    rows, stream = batch()
    for left in (False, True):
        if left and why_not(model.config, left_padded=True) is not None:
            assert model.config.model_type in ABSOLUTE_POSITIONS
            continue
        ids, mask = padded(rows, left)
        plain, expected = logps(model, ids, mask), gradient(model)
        for streams in (stream, stream * 0):
            found = logps(shared(model, streams), ids, mask)
            assert (found - plain).abs().max() < 1e-5
            assert (gradient(model) - expected).norm() / expected.norm() < 1e-5


def test_every_measured_type_is_tested():
    assert {config_of(name, **settings).model_type for name, settings in EXACT.values()} == measured()


@pytest.mark.parametrize("case", ["llama", "mistral, window", "qwen2, window", "gemma3, window"])
def test_eager_attention_takes_the_same_layout(case):
    name, settings = EXACT[case]
    model = tiny(name, "eager", **settings)
    rows, stream = batch()
    ids, mask = padded(rows)
    assert (logps(shared(model, stream), ids, mask) - logps(model, ids, mask)).abs().max() < 1e-5


@pytest.mark.parametrize("case", ["llama", "mistral, window", "qwen2, window"])
def test_flex_attention_gets_the_same_mask(case):
    """The mask alone: torch 2.13 cannot compile FlexAttention with it for a CPU."""
    name, settings = EXACT[case]
    rows, stream = batch()
    layout = shared_layout(*padded(rows), stream)
    width = layout.input_ids.shape[1]
    blocks = attention_mask(tiny(name, "flex_attention", **settings), layout)
    masks = attention_mask(tiny(name, **settings), layout)
    for kind, expected in masks.items() if isinstance(masks, dict) else [(None, masks)]:
        block = blocks if kind is None else blocks[kind]
        assert block.shape == (2, 1, width, width)
        found = create_mask(block.mask_mod, 2, None, width, width, device="cpu")
        assert (found == expected).all()


def refused(name, attention="sdpa", **settings):
    config = config_of(name, **settings)
    config._attn_implementation = attention
    return why_not(config)


@pytest.mark.parametrize(
    "reason, words",
    {
        "recurrent": (lambda: refused("Mamba"), "mamba has layers of type linear_attention"),
        "convolution": (lambda: refused("Lfm2", full_attn_idxs=[1]), "lfm2 has layers of type conv"),
        "linear attention": (
            lambda: refused("Qwen3Next", **QWEN3_NEXT),
            "qwen3_next has layers of type linear_attention",
        ),
        "chunks": (lambda: refused("Llama4Text", **LLAMA_4), "llama4_text has layers of type chunked_attention"),
        "Bloom": (lambda: refused("Bloom", n_head=4, n_layer=2), "bloom adds ALiBi"),
        "Falcon": (lambda: refused("Falcon", alibi=True, new_decoder_architecture=False), "falcon adds ALiBi"),
        "images": (lambda: why_not(transformers.Gemma3Config()), "gemma3 reads images"),
        "encoder": (lambda: why_not(transformers.T5Config()), "t5 is an encoder-decoder"),
        "flash": (lambda: refused("Llama", "flash_attention_2"), "its attention is flash_attention_2"),
        "router": (lambda: refused("Mixtral", output_router_logits=True), "output_router_logits is on"),
        "dropout": (lambda: refused("Llama", attention_dropout=0.1), "attention_dropout is 0.1"),
        "remote code": (
            lambda: refused("Llama", auto_map={"AutoModel": "x.Y"}),
            "llama brings modelling code of its own",
        ),
        "ahead": (lambda: refused("Gemma3Text", use_bidirectional_attention=True), "gemma3_text looks ahead"),
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_models_that_would_be_wrong_are_refused_by_name(reason, words):
    make, expected = words
    assert make().startswith(expected)


class WithoutWindow(torch.nn.Module):
    """A model planted to be wrong: its window is forgotten when it gets a mask of pairs of tokens."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config = model, model.config

    def forward(self, attention_mask, **kwargs):
        if attention_mask.ndim == 4:
            attention_mask = torch.ones_like(attention_mask).tril()
        return self.model(attention_mask=attention_mask, **kwargs)


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_the_first_batch_stops_a_model_that_is_wrong(precision):
    rows, stream = batch()
    ids, mask = padded(rows)
    model = WithoutWindow(tiny("Llama"))
    with pytest.raises(
        ValueError, match=r"wrong for this model \(llama\): .* by [0-9.]+ nats .* at most 0\.\d+ is rounding"
    ):
        shared(model, stream, precision=precision)(input_ids=ids, attention_mask=mask, logits_to_keep=12)


def test_what_counts_as_rounding():
    model = tiny("Llama")
    assert noise_of(model, None) == noise_of(model, torch.float16) == 1e-3, "no fp16 and no TF32 on a CPU"
    assert noise_of(model, torch.bfloat16) == noise_of(model.bfloat16(), None) == 0.25
    assert noise_of(model.half(), None) == 0.05


def test_bf16_is_not_further_from_fp32_than_a_plain_pass_in_bf16():
    rows, stream = batch()
    ids, mask = padded(rows)
    exact = tiny("Llama")
    expected = logps(exact, ids, mask)
    low = tiny("Llama").bfloat16()
    real = expected != 0
    plain = (logps(low, ids, mask) - expected)[real].square().mean().sqrt()
    found = (logps(shared(low, stream), ids, mask) - expected)[real].square().mean().sqrt()
    assert 0 < found < 1.5 * plain


def test_the_choice_of_a_run(capsys):
    model, said = tiny("Llama"), []
    assert choose("off", model, [], said.append) is None and not said
    assert choose("auto", model, [None], said.append).always is False
    assert choose("on", model, [], said.append).always is True
    assert choose("auto", model, [None, "--packing true joins rows"], said.append) is None
    assert said == ["shared prefixes are off because --packing true joins rows"]
    with pytest.raises(
        ValueError, match="shared_prefix is on, but rows cannot share because --packing true joins rows"
    ):
        choose("on", model, ["--packing true joins rows"], said.append)
    with pytest.raises(ValueError, match="did you mean 'auto'"):
        choose("autp", model, [], said.append)
    dropped = torch.nn.ModuleDict({"model": model, "lora_dropout": torch.nn.Dropout(0.05)})
    dropped.config = model.config
    with pytest.raises(ValueError, match=r"because lora_dropout is 0\.05"):
        choose("on", dropped, [], said.append)


def test_auto_leaves_a_batch_plain_that_shares_too_little():
    calls, said = [], []
    model = tiny("Llama")
    model.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs["attention_mask"].ndim), with_kwargs=True
    )
    ids, mask = padded([[5, 6, 7, 8, 9, 10, 11, 12], [5, 13, 14, 15, 16, 17, 18, 19]])
    prefixes = SharedPrefixes(say=said.append)
    for _ in range(2):
        SharedPrefixModel(model, prefixes, torch.zeros(2, dtype=torch.long))(input_ids=ids, attention_mask=mask)
    assert calls == [2, 4, 2, 2]  # the first batch plainly and shared for the comparison, then plainly
    assert len(said) == 1 and "computes 94% of its tokens, too many to pay (above 90%)" in said[0]


def test_arguments_of_single_tokens_are_refused():
    ids, mask = padded([[1, 2, 3], [1, 2, 4]])
    model = shared(tiny("Llama"), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="shared prefixes do not carry token_type_ids: set shared_prefix to off"):
        model(input_ids=ids, attention_mask=mask, token_type_ids=ids)
    with pytest.raises(ValueError, match="count the tokens of a row from 0, these position_ids do not"):
        model(input_ids=ids, attention_mask=mask, position_ids=ids)
    model(input_ids=ids, attention_mask=mask, position_ids=mask.cumsum(1) - 1)
