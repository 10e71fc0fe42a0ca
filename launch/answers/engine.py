"""Answers from vLLM's engine in this process: `--backend vllm`.

Prompts become tokens by the same code as for transformers, so nothing is templated twice, and tokens become answers by the
same code. vLLM batches by itself (`--batch_size` decides nothing), computes a prompt that several answers share once, and
draws each answer from a seed of its own. Two runs agree as far as rounding goes: what shares a batch depends on the clock.
"""

import gc
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from launch.answers.backends import Answer, Decoding, Item, Keep, LocalBackend
from launch.answers.forms import Form, Speaking
from launch.answers.policy import read_form, resolve_adapter
from launch.answers.sampling import draw_seed
from launch.models.merge_lora import merge, read_adapter
from trl_ext.modpo.model_dir import DTYPES, check_dtype, check_finite_weights, resolve_model

LEAST_TEMPERATURE = 0.01  # vLLM raises what is below
SCHEDULED = 4096  # tokens of one step on a CPU
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM keeps room for
# Of an adapter, what vLLM refuses, or some of its versions pass over in silence.
NOT_SERVED = (
    "alora_invocation_tokens", "alpha_pattern", "layer_replication", "lora_bias", "modules_to_save", "rank_pattern",
    "target_parameters", "trainable_token_indices", "use_bdlora", "use_dora", "use_qalora",
)  # fmt: skip
ONLY_AT_THE_START = (True, False, None, "gaussian", "eva", "orthogonal")  # ways to begin that leave the base as it is
ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",  # its warnings are about itself
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # answers are what belongs on the output
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "4",  # GiB; without it, on a machine without a GPU, nearly all memory
}


def check_engine(decoding: Decoding) -> None:
    """Refuses what vLLM cannot do, and a machine without it.

    Raises:
        ValueError: with the flags, or with what to install.
    """
    if decoding.no_repeat_ngram_size:
        raise ValueError("--no_repeat_ngram_size does not exist in vLLM; leave it out, or use --backend transformers")
    if decoding.do_sample and decoding.temperature < LEAST_TEMPERATURE:
        raise ValueError(
            f"--temperature {decoding.temperature:g}: vLLM draws at {LEAST_TEMPERATURE} at the least; give that or more, "
            "sample not at all, or use --backend transformers"
        )
    if find_spec("vllm") is None:
        raise ValueError(
            "--backend vllm needs vLLM, which is not in this environment: pip install 'swift-trl-ext[vllm]', or use "
            "--backend transformers"
        )


def why_merged(adapter: Path) -> str | None:
    """What of an adapter vLLM does not serve beside the base model; None where it serves all.

    Raises:
        ValueError: no LoRA adapter of a language model.
    """
    settings = read_adapter(adapter)
    if (begun := settings.get("init_lora_weights")) not in ONLY_AT_THE_START:
        return f"init_lora_weights {begun}"
    if settings.get("bias", "none") != "none":
        return f"bias {settings['bias']}"
    if settings.get("r", 0) > RANKS[-1]:
        return f"rank {settings['r']}"
    return next((name for name in NOT_SERVED if settings.get(name)), None) or _odd_weight(adapter)


def _odd_weight(adapter: Path) -> str | None:
    from safetensors import safe_open

    file = adapter / "adapter_model.safetensors"
    if not file.is_file():
        return "weights stored by PyTorch"
    with safe_open(file, framework="numpy") as tensors:
        names = list(tensors.keys())
    served = (".lora_A.weight", ".lora_B.weight")
    return next((name for name in names if not name.endswith(served) or ".lm_head." in name), None)


class Engine(Speaking):
    """A language model in vLLM's engine; spoken to as a `Policy` is. It starts with the first prompts.

    Args:
        path, torch_dtype, trust_remote_code: as of `Policy`.
        adapters: directory of a LoRA adapter. What vLLM does not serve is merged into the base, in a temporary folder.
        form: what else `Policy` takes.

    Raises:
        ValueError: see `Policy`; or a model whose own dtype nothing names.
    """

    def __init__(
        self,
        path: str,
        *,
        adapters: str | None = None,
        torch_dtype: str | None = None,
        trust_remote_code: bool = False,
        **form: Any,
    ):
        check_engine(Decoding())
        check_dtype(torch_dtype)
        directory = resolve_model(path, trust_remote_code)
        check_finite_weights(directory)
        adapter = resolve_adapter(adapters) if adapters else None
        self.form: Form = read_form(directory, adapter, trust_remote_code=trust_remote_code, **form)
        self.running = Running(
            directory, adapter, torch_dtype or own_dtype(directory, trust_remote_code), trust_remote_code
        )


def own_dtype(directory: str, trust_remote_code: bool = False) -> str:
    """The dtype that the configuration names. vLLM's own default would make a half type of float32.

    Raises:
        ValueError: it names none that models are loaded in.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(directory, trust_remote_code=trust_remote_code).get_text_config()
    name = str(config.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"{directory}/config.json names no dtype: add --torch_dtype, one of {', '.join(DTYPES)}")
    return name


class Running:
    """The engine of one model and its adapter, with room for the longest row so far."""

    def __init__(self, directory: str, adapter: str | None, dtype: str, trust_remote_code: bool):
        self.dtype, self.trust_remote_code = dtype, trust_remote_code
        self.weights, self.adapter, self.merged = directory, adapter, None
        self.llm, self.request, self.room = None, None, 0
        if adapter and (reason := why_merged(Path(adapter))):
            self.merged = TemporaryDirectory(prefix="merged_for_vllm_")
            print(f"{adapter}: vLLM does not serve {reason}, so the adapter is merged into the base first", flush=True)
            merge(Path(adapter), Path(self.merged.name, "model"), directory, dtype)
            self.weights, self.adapter = str(Path(self.merged.name, "model")), None

    def generate(
        self, prompts: Sequence[list[int]], params: Sequence[Any], room: int, most: int
    ) -> Iterator[list[tuple[int, Sequence[int]]]]:
        """(number of the prompt, tokens of its answer) as answers are finished, in no order.

        Args:
            room: tokens of the longest row, prompt and answer; most: what the model's limit allows.
        """
        llm = self._started(room, most)
        given = [{"prompt_token_ids": ids} for ids in prompts]
        names = llm.enqueue(given, list(params), lora_request=self.request, use_tqdm=False)
        # vLLM adds letters of its own to a name behind a dash, and answers under the name without them.
        left = {name.partition("-")[0]: number for number, name in enumerate(names)}
        try:
            while left:
                done = [one for one in llm.llm_engine.step() if one.finished]
                if done:
                    yield [(left.pop(one.request_id), one.outputs[0].token_ids) for one in done]
        finally:
            if left:
                llm.llm_engine.abort_request(list(left))

    def _started(self, room: int, most: int) -> Any:
        if room <= self.room:
            return self.llm
        self.llm = None
        gc.collect()  # the last engine gives its memory back before the next one asks for it
        # A power of two, so that prompts which are a little longer do not start it again.
        self.room = max(room, min(most, 1 << (room - 1).bit_length()))
        self.llm = self._start()
        return self.llm

    def _start(self) -> Any:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from vllm import LLM
        from vllm.lora.request import LoRARequest
        from vllm.platforms import current_platform

        lora = {}
        if self.adapter:
            rank = read_adapter(Path(self.adapter))["r"]
            lora = {"enable_lora": True, "max_loras": 1, "max_lora_rank": next(r for r in RANKS if r >= rank)}
            self.request = LoRARequest("adapter", 1, str(Path(self.adapter).absolute()))
        try:
            llm = LLM(
                self.weights,
                skip_tokenizer_init=True,  # tokens go in, tokens come out
                trust_remote_code=self.trust_remote_code,
                dtype=self.dtype,
                max_model_len=self.room,
                generation_config="vllm",  # a model's own defaults of sampling stay out
                enable_prefix_caching=True,
                **(self._on_a_cpu() if current_platform.is_cpu() else {}),
                **lora,
            )
            if self.request:
                llm.llm_engine.add_lora(self.request)
        except Exception as error:  # of many kinds, some of them another process's
            raise ValueError(
                f"vLLM does not take {self.adapter or self.weights} with {self.dtype} and rows of {self.room} tokens: "
                f"{error}; its own lines above say more, and --backend transformers does without it"
            ) from error
        return llm

    def _on_a_cpu(self) -> dict[str, Any]:
        """Compiling takes minutes there, and a prompt that is split over two steps of the engine takes back a draw from its
        generator, which those of a CPU cannot ("CPU Generator does not use offset", vLLM 0.32.0)."""
        whole = {"enable_chunked_prefill": False, "max_num_batched_tokens": max(SCHEDULED, self.room)}
        return {"enforce_eager": True, **whole}


class VLLMBackend(LocalBackend):
    """Answers of an `Engine`, all of which it is given at once. See `LocalBackend`.

    Raises:
        ValueError: also see `check_engine`.
    """

    whole_batches = False
    own_batches = True

    def __init__(self, engine: Engine, decoding: Decoding, max_input_length: int | None = None):
        check_engine(decoding)
        super().__init__(engine, decoding, max_input_length)
        self.running = engine.running

    def generate(self, items: Sequence[Item]) -> list[Answer]:
        """One answer an item, in order."""
        answers: dict[int, Answer] = {}
        for done in self._finished(items):
            answers |= done
        return [answers[number] for number in range(len(items))]

    def draw(self, items: Sequence[Item], keep: Keep) -> list[tuple[Item, Answer]]:
        """Gives `keep` answers as they are finished; there is no item without one."""
        for done in self._finished(items):
            keep([items[number] for number in done], list(done.values()))
        return []

    def _finished(self, items: Sequence[Item]) -> Iterator[dict[int, Answer]]:
        prompts = [self._seen(item.prompt) for item in items]
        room = max(map(len, prompts), default=0) + self.decoding.max_new_tokens
        params = [self._params(item) for item in items]
        for done in self.running.generate(prompts, params, room, self.form.max_length):
            yield {number: self._answer(items[number], list(tokens)) for number, tokens in done}

    def _params(self, item: Item) -> Any:
        from vllm import SamplingParams

        decoding = self.decoding
        drawn = {"temperature": 0.0}
        if decoding.do_sample:
            seed = draw_seed(decoding.seed, item.prompt.prompt_id, item.sample)
            drawn = {
                "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": decoding.top_k or 0, "seed": seed,
            }  # fmt: skip
        return SamplingParams(
            **drawn,
            max_tokens=decoding.max_new_tokens,
            repetition_penalty=decoding.repetition_penalty,
            stop_token_ids=self.form.stop_ids,
            ignore_eos=True,  # it is among those of the form, where an answer ends at all
            detokenize=False,
        )
