"""Every setting of the MODPO pipeline, with its type and what must fit together."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Settings that decide what a run means; with --require_explicit_criticals none may come from a default or a preset.
CRITICAL = ["out", "run_tag", "w_values", "max_length", "max_new_tokens", "eval_size", "beta", "margin_role"]
Positive = Annotated[int, Field(gt=0)]


class PipelineConfig(BaseModel):
    """Every knob of the pipeline. Fields of one group stand together."""

    model_config = ConfigDict(extra="forbid")

    # run
    out: Path = Field(description="folder of the run")
    run_tag: str = Field("modpo", description="name of the run; another tag in the same folder is refused")
    preflight_only: bool = Field(False, description="check everything, print the stages, spend nothing")
    require_explicit_criticals: bool = Field(False, description=f"demand that {', '.join(CRITICAL)} are given by hand")
    # model
    model: str = Field(description="base model: folder, hub name, or `embedded` for SmolLM2 from its PyPI package")
    model_type: str | None = Field(None, description="ms-swift's --model_type, where it cannot be told from the folder")
    template: str | None = Field(None, description="ms-swift's --template")
    system: str | None = Field(None, description="system message of every row")
    torch_dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="numbers of the weights; auto: bfloat16 where the device has it, else float32"
    )
    processes: Positive = Field(1, description="processes of a training stage (NPROC_PER_NODE)")
    stages_at_once: Positive = Field(1, description="stages that run at a time, where none reads what another writes")
    deepspeed: str | None = Field(None, description="ms-swift's --deepspeed: zero2, zero3 or a file")
    # data
    data: Literal["helpsteer", "preference", "sampled", "files"] = Field(
        "helpsteer",
        description="where pairs come from: `helpsteer`, `preference` (a published set), `sampled` (answers of the model), `files`",
    )
    dataset: str | None = Field(None, description="name for `python -m datasets_builders preference`")
    source: str | None = Field(None, description="local file(s) in the data set's schema instead of the hub")
    validation_source: str | None = Field(None, description="the same for the validation split")
    preference: str | None = Field(None, description="attribute, dimension or function that the trained labels follow")
    margin_preference: str | None = Field(None, description="the same for the margin adapter's labels")
    min_gap: float | None = Field(None, description="least rating difference of a pair")
    preference_file: str | None = Field(None, description="data = files: pairs in ms-swift's format")
    preference_val_file: str | None = Field(None, description="the same, held out")
    margin_file: str | None = Field(None, description="data = files: pairs that the margin adapter learns from")
    margin_val_file: str | None = Field(None, description="the same, held out")
    prompts: str | None = Field(None, description="data = sampled: prompts to sample from")
    eval_prompts: str | None = Field(None, description="prompts to evaluate on; default: the validation pairs")
    samples_per_prompt: Positive = Field(4, description="data = sampled: completions per prompt")
    val_prompts: Positive = Field(16, description="data = sampled: prompts held out to check the margin adapter")
    train_limit: Positive | None = Field(None, description="at most this many pairs of each kind")
    data_num_proc: Positive = Field(1, description="processes that read rows")
    # objectives
    w_values: list[float] = Field(description="weights of the trained preference")
    require_w_values: list[float] | None = Field(None, description="refuse any other grid than this one")
    beta: float = Field(0.1, gt=0, description="beta of DPO and MODPO")
    margin: Literal["adapter", "function"] = Field(
        "adapter", description="what gives the margin: an adapter that is trained first, or a function of the texts"
    )
    margin_function: str | None = Field(None, description="margin = function: registered name or dotted path")
    margin_role: Literal["reward", "cost"] = Field("reward", description="reward: more is better; cost: less is better")
    require_margin_role: Literal["reward", "cost"] | None = Field(None, description="refuse the other role")
    margin_beta: float | None = Field(None, description="multiplies the margin; default: beta for an adapter, else 1")
    margin_weight: float | None = Field(None, ge=0, description="fixed weight of the margin; default 1 - w")
    min_margin_accuracy: float = Field(0.6, ge=0, le=1, description="the run stops below this held-out accuracy")
    share_prompts: bool = Field(
        False, description="DPO reads a pair's prompt once, too, as MODPO does; rounding differs"
    )
    start: Literal["reference", "margins"] = Field("reference", description="where the policies begin (MODPO_START)")
    soup: bool = Field(
        False, description="beside the policies, mixtures of the two single-objective DPO adapters by the same weights"
    )
    # training
    sft: bool = Field(True, description="fine-tune and merge the base on the chosen side first")
    train_max_length: Positive = Field(512, description="longest training row in tokens")
    train_batch_size: Positive = Field(1, description="rows per process and training step")
    eval_batch_size: Positive = Field(1, description="rows per process and evaluation step")
    grad_accum: Positive = Field(8, description="batches that make one optimizer step")
    sft_max_steps: Positive = Field(1000, description="optimizer steps")
    dpo_max_steps: Positive = Field(1000, description="optimizer steps of the margin adapter")
    modpo_max_steps: Positive = Field(1000, description="optimizer steps for each w")
    sft_learning_rate: float = Field(1e-4, gt=0, description="highest learning rate of AdamW")
    dpo_learning_rate: float = Field(1e-4, gt=0, description="highest learning rate of AdamW for the margin adapter")
    modpo_learning_rate: float = Field(1e-4, gt=0, description="highest learning rate of AdamW")
    learning_rate_times_w: bool = Field(
        False, description="modpo_learning_rate times w, as the loss divides its step by w"
    )
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.05, ge=0, description="weight decay of AdamW")
    lora_rank: Positive = Field(16, description="rank of all adapters")
    lora_alpha: Positive = Field(32, description="alpha of all adapters")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="dropout of all adapters")
    gradient_checkpointing: bool = Field(True, description="less memory, more time")
    save_steps: Positive = Field(200, description="steps between checkpoints")
    eval_steps: Positive = Field(200, description="steps between evaluations")
    logging_steps: Positive = Field(10, description="steps between log entries")
    train_seed: int = Field(42, description="seed of training")
    precompute: bool = Field(True, description="compute reference and margins once for the whole grid")
    sft_flags: dict[str, Any] = Field(default_factory=dict, description="further flags of `swift sft`")
    margin_flags: dict[str, Any] = Field(default_factory=dict, description="further flags of the margin stage")
    modpo_flags: dict[str, Any] = Field(default_factory=dict, description="further flags of the MODPO stages")
    # generation
    eval_size: Positive = Field(300, description="held-out prompts to answer, the first so many")
    max_length: Positive = Field(4096, description="tokens of prompt and answer together")
    max_input_length: Positive | None = Field(
        None, description="tokens of the prompt; default: max_length - max_new_tokens"
    )
    max_new_tokens: Positive = Field(2560, description="longest answer in tokens")
    gen_batch_size: Positive = Field(4, description="prompts answered at once")
    gen_samples: Positive = Field(1, description="completions per held-out prompt")
    gen_do_sample: bool = Field(False, description="sample; greedy otherwise")
    gen_temperature: float = Field(1.0, gt=0, description="temperature of gen_do_sample")
    gen_top_p: float = Field(1.0, gt=0, le=1, description="draw from the likeliest tokens with this share")
    gen_repetition_penalty: float = Field(
        1.0, gt=0, description="divides the logits of tokens that were there; 1: none"
    )
    gen_no_repeat_ngram_size: int = Field(0, ge=0, description="tokens of a sequence that may not come again; 0: any")
    # scores and report
    scores: list[str] = Field(
        default_factory=list, description="rewards for `python -m launch score`; {margin} = the adapter"
    )
    x: str = Field("preference", description="score on the horizontal axis")
    y: str = Field("margin", description="score on the vertical axis")
    title: str = Field("MODPO trade-off", description="title of the report")
    # tracking
    wandb_project: str | None = Field(None, description="project of Weights & Biases, where report_to names it")
    wandb_run_group: str | None = Field(None, description="group of Weights & Biases")
    wandb_tags: str | None = Field(None, description="tags of Weights & Biases, separated by commas")

    @model_validator(mode="after")
    def _fits_together(self):
        problems = []
        for w in self.w_values:
            if not 0 < w <= 1:
                problems.append(f"w_values holds {w:g}: every w must lie in (0, 1]")
        if len(set(self.w_values)) != len(self.w_values):
            problems.append(f"w_values holds a value twice: {self.w_values}")
        if self.require_w_values is not None and sorted(self.w_values) != sorted(self.require_w_values):
            problems.append(f"w_values is {self.w_values}, require_w_values demands {self.require_w_values}")
        if self.require_margin_role is not None and self.margin_role != self.require_margin_role:
            problems.append(
                f"margin_role is {self.margin_role!r}, require_margin_role demands {self.require_margin_role!r}"
            )
        if self.max_input_length is None and self.max_length <= self.max_new_tokens:
            problems.append(
                f"max_length {self.max_length} leaves no room for a prompt beside max_new_tokens {self.max_new_tokens}"
            )
        if self.max_input_length is not None and self.max_input_length > self.max_length:
            problems.append(
                f"max_input_length {self.max_input_length} is above max_length {self.max_length}: lower it, or leave it "
                "out (null in a file) for max_length - max_new_tokens"
            )
        if self.margin == "function" and self.margin_function is None:
            problems.append("margin = function needs margin_function")
        if self.data == "preference" and self.dataset is None:
            problems.append("data = preference needs dataset")
        if self.data == "files" and self.preference_file is None:
            problems.append("data = files needs preference_file")
        if self.data == "sampled" and self.prompts is None:
            problems.append("data = sampled needs prompts")
        if (
            self.data == "files"
            and self.margin == "adapter"
            and (self.margin_file is None or self.margin_val_file is None)
        ):
            problems.append("data = files with margin = adapter needs margin_file and margin_val_file")
        if self.data in ("helpsteer", "sampled") and self.preference is None:
            problems.append(f"data = {self.data} needs preference")
        if self.data != "files" and self.margin == "adapter" and self.margin_preference is None:
            problems.append("margin = adapter needs margin_preference")
        if not self.gen_do_sample and (self.gen_temperature != 1 or self.gen_top_p != 1 or self.gen_samples != 1):
            problems.append("gen_temperature, gen_top_p and gen_samples have no effect without gen_do_sample: true")
        if self.margin != "adapter" and (self.soup or self.start == "margins"):
            problems.append("soup and start = margins need margin = adapter: there is nothing else to mix or begin at")
        if self.soup and (self.margin_role, self.margin_weight, self.margin_beta) != ("reward", None, None):
            problems.append(
                "soup mixes by w and 1 - w: margin_role must be reward, margin_weight and margin_beta must not be set"
            )
        if self.sft and self.data == "sampled":
            problems.append("data = sampled starts from an instruct model: set sft to false")
        if problems:
            raise ValueError("; ".join(problems))
        return self
