"""What GRPO's answers are drawn from where transformers generates: all of the softmax, or a warning."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

pytest.importorskip("swift")

from swift.infer_engine.protocol import RequestConfig
from swift.infer_engine.utils import prepare_generation_config

from swift_ext.paired_grpo.sampling import (
    draw_from_every_token,
    drawn,
    hidden_cuts,
    refuse_lost_sampling_flags,
    sampling_warnings,
)
from tests.conftest import REPOSITORY

RUNS = [
    path
    for method in ("bt_grpo", "pairwise_judge")
    for path in sorted((REPOSITORY / "launch" / "runs" / method).glob("*.yaml"))
    if path.stem not in ("warmup_sft", "ray_megatron")
]


@pytest.fixture(scope="module")
def engine(tiny):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny)
    return SimpleNamespace(
        model=model, generation_config=model.generation_config, tokenizer=AutoTokenizer.from_pretrained(tiny)
    )


def tokens_left(engine, request: RequestConfig) -> int:
    """How many tokens a first draw can take, as transformers' own `generate` sees it."""
    config = prepare_generation_config(engine.generation_config, request, engine.tokenizer)
    prompt = engine.tokenizer("The river", return_tensors="pt")
    prompt.pop("token_type_ids", None)
    done = engine.model.generate(**prompt, generation_config=config, output_scores=True, return_dict_in_generate=True)
    return int(done.scores[0].isfinite().sum())


@pytest.mark.parametrize("top_k", [-1, 0])
def test_top_k_off_is_off_where_transformers_generates(engine, top_k):
    request = RequestConfig(max_tokens=1, temperature=1.0, top_p=1.0, top_k=top_k, repetition_penalty=1.0)
    assert tokens_left(engine, request) == 50  # what ms-swift and transformers make of it
    draw_from_every_token(request)
    assert tokens_left(engine, request) == engine.model.config.vocab_size
    assert drawn(request) == "temperature 1, top-p 1, all tokens"


def test_a_top_k_that_was_asked_for_stays(engine):
    request = RequestConfig(max_tokens=1, temperature=0.7, top_p=0.9, top_k=7, repetition_penalty=1.0)
    draw_from_every_token(request)
    assert tokens_left(engine, request) <= 7 and drawn(request) == "temperature 0.7, top-p 0.9, top-k 7"


def test_what_the_model_brings_is_found(engine):
    request = RequestConfig(max_tokens=1, temperature=1.0, top_p=1.0, top_k=-1, repetition_penalty=1.0)
    assert hidden_cuts(engine, request) == {}
    from transformers import GenerationConfig

    brought = SimpleNamespace(
        generation_config=GenerationConfig(min_p=0.1, top_k=20, top_p=0.8), tokenizer=engine.tokenizer
    )
    assert hidden_cuts(brought, request) == {"min_p": 0.1}


def flags(**given):
    plain = {"top_k": -1, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "use_vllm": False}
    return SimpleNamespace(**plain | given)


def test_flags_that_cut_are_named():
    assert sampling_warnings(flags()) == sampling_warnings(flags(top_k=0)) == []
    (warning,) = sampling_warnings(flags(top_k=50, top_p=0.9, use_vllm=True))
    assert warning.startswith("--top_k 50, --top_p 0.9: ") and "--top_k -1 --top_p 1.0" in warning
    refuse_lost_sampling_flags(flags(min_p=0.1, use_vllm=True))


def test_min_p_without_vllm_is_refused_with_the_arguments_before_a_model_is_loaded(tmp_path):
    from swift_ext.bt_grpo import PairGRPOConfig
    from swift_ext.pairwise_judge import JudgeGRPOConfig

    for config in (PairGRPOConfig, JudgeGRPOConfig):
        with pytest.raises(ValueError, match=r"--min_p 0\.1 has no effect without --use_vllm true"):
            config(output_dir=str(tmp_path), min_p=0.1, use_cpu=True, num_generations=2, generation_batch_size=8)


def test_a_server_is_refused_on_a_cpu_before_a_model_is_loaded(tmp_path):
    """vLLM would switch its communicator off, and the server would answer with the weights of the start."""
    from swift_ext.bt_grpo import PairGRPOConfig
    from swift_ext.pairwise_judge import JudgeGRPOConfig

    valid = {
        "output_dir": str(tmp_path),
        "use_cpu": True,
        "bf16": False,
        "num_generations": 2,
        "generation_batch_size": 8,
    }
    for config in (PairGRPOConfig, JudgeGRPOConfig):
        with pytest.raises(ValueError, match=r"--vllm_mode server on the device cpu: .* by NCCL"):
            config(**valid, use_vllm=True, vllm_mode="server")
        assert config(**valid, use_vllm=True, vllm_mode="colocate").vllm_mode == "colocate"


@pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{Path(path).parent.name}/{path.stem}")
def test_shipped_runs_draw_from_all_tokens_and_say_so(path):
    run = yaml.safe_load(path.read_text())
    assert (run["top_k"], run["top_p"]) == (-1, 1.0)
    assert sampling_warnings(flags(**{name: run[name] for name in ("top_k", "top_p")})) == []
