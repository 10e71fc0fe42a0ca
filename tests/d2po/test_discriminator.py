"""Discriminators on tiny models: what they score, how they learn, and that they go on exactly."""

import json
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from tests.tiny import build_adapter, build_classifier, build_model, build_tokenizer
from trl_ext.d2po.discriminator import DiscriminatorSettings, LabelledPair, load_discriminator
from trl_ext.d2po.discriminator_training import accuracy, seed_of
from trl_ext.d2po.first_pairs import read_first_pairs

WORDS = ["water", "bread", "river", "tree", "library", "sky", "forest", "answer", "kind", "patience"]


def labelled(count: int, seed: int = 0) -> list[LabelledPair]:
    """The gold label: more waters are better."""
    draw = random.Random(seed)
    pairs = []
    for index in range(count):
        many, few = draw.randint(3, 5), draw.randint(0, 2)
        texts = [" ".join(["water"] * n + draw.choices(WORDS[1:], k=draw.randint(1, 4))) for n in (many, few)]
        pairs.append(LabelledPair(f"Why is the sky blue? {index}", *texts, float(many - few)))
    return pairs


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Tiny ones; in training the attention of the classifier drops out three of ten weights."""
    folder = tmp_path_factory.mktemp("discriminators")
    classifier = build_classifier(folder / "classifier", labels=1)
    config = json.loads((classifier / "config.json").read_text())
    (classifier / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.3}))
    return {"classifier": classifier, "dpo": build_model(folder / "policy")}


VARIANTS = {
    "all weights": {"lora_rank": 0, "learning_rate": 1e-3},
    "adapter": {"lora_rank": 4, "learning_rate": 1e-2},
    "dpo": {"kind": "dpo", "lora_rank": 4, "learning_rate": 1e-2, "beta": 0.5},
}


@pytest.fixture(params=VARIANTS)
def variant(request) -> str:
    return request.param


def make(models, name: str, **changes):
    settings = DiscriminatorSettings(**({"batch_size": 4, "epochs": 4, "replay": 3} | VARIANTS[name] | changes))
    return load_discriminator(str(models[settings.kind]), settings)


def scores_of(discriminator, pairs):
    return discriminator.score(
        [p.prompt for p in pairs for _ in "ab"], [t for p in pairs for t in (p.chosen, p.rejected)]
    )


# --- learning ---------------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss_and_orders_the_pairs(models, variant):
    pairs = labelled(12)
    discriminator = make(models, variant, epochs=8)
    before = discriminator.digest()
    metrics = discriminator.update(pairs, 0)
    assert metrics["loss_last"] < 0.8 * metrics["loss_first"]
    assert metrics["accuracy_before"] < metrics["accuracy_after"] == 1.0
    assert (metrics["pairs"], metrics["replayed"], metrics["truncated"]) == (12, 0, 0)
    scores = scores_of(discriminator, pairs)
    assert accuracy([a - b for a, b in zip(scores[::2], scores[1::2], strict=True)]) == 1.0
    assert discriminator.digest() != before and discriminator.updates == 1


def test_the_first_loss_is_that_of_the_scores(models):
    """One step on the whole batch without dropout: the loss reported is computed by hand from the scores before it."""
    pairs = labelled(3)
    for loss in ("bt", "margin", "margin_order"):
        plain = make(models, "all weights", batch_size=8, epochs=1, loss=loss)
        plain.model.config.attention_dropout = 0.0
        for layer in plain.model.model.layers:
            layer.self_attn.attention_dropout = 0.0
        scores = torch.tensor(scores_of(plain, pairs)).double()
        beyond = scores[::2] - scores[1::2]
        if loss != "bt":
            beyond -= torch.tensor([pair.margin for pair in pairs])
        expected = -torch.nn.functional.logsigmoid(beyond).mean()
        if loss == "margin_order":
            for i in range(3):
                for j in range(3):
                    if pairs[i].margin > pairs[j].margin:
                        expected -= torch.nn.functional.logsigmoid(beyond[i] - beyond[j])
        assert plain.update(pairs, 0)["loss_first"] == pytest.approx(expected.item(), abs=1e-4)


def test_a_margin_pushes_further(models):
    pairs = [pair._replace(margin=30.0) for pair in labelled(6)]
    gaps = {}
    for loss in ("bt", "margin"):
        discriminator = make(models, "adapter", loss=loss, epochs=12)
        discriminator.update(pairs, 0)
        scores = scores_of(discriminator, pairs)
        gaps[loss] = sum(scores[::2]) - sum(scores[1::2])
    assert gaps["margin"] > 1.2 * gaps["bt"]


def test_only_the_adapter_and_the_head_learn(models):
    names = make(models, "adapter").trained
    assert any("lora_A" in name for name in names) and any("score" in name for name in names)
    assert all("lora_" in name or "score" in name for name in names)
    assert all("lora_" in name for name in make(models, "dpo").trained)
    whole = make(models, "all weights")
    assert len(whole.trained) == len(list(whole.model.parameters()))


def test_every_setting_of_the_optimiser_arrives(models):
    discriminator = make(models, "adapter", weight_decay=0.125)
    (group,) = discriminator.optimiser.param_groups
    assert (group["lr"], group["weight_decay"]) == (1e-2, 0.125)
    clipped, lengths = make(models, "adapter", max_grad_norm=1e-3, epochs=3), []
    clipped.optimiser.register_step_pre_hook(
        lambda optimiser, *_: lengths.append(
            torch.cat([p.grad.flatten() for group in optimiser.param_groups for p in group["params"]]).norm().item()
        )
    )
    clipped.update(labelled(5), 0)
    assert lengths == pytest.approx([1e-3] * 6, rel=1e-2)  # two batches of at most four pairs, three passes


def test_weights_that_run_away_are_refused(models):
    discriminator = make(models, "adapter")
    with torch.no_grad():
        next(p for n, p in discriminator.trained.items() if "score" in n).fill_(float("nan"))
    with pytest.raises(ValueError, match="scored response 0 with nan"):
        discriminator.score(["a"], ["b"])
    with pytest.raises(ValueError, match="nan"):
        discriminator._train([discriminator.encoder.encode("a", t) for t in "bc"], [1.0], 0)
    assert not discriminator.model.training


# --- replay -----------------------------------------------------------------------------------------------------------


def test_replay_draws_old_pairs_by_seed_and_number(models):
    old, new = labelled(9), labelled(4, seed=1)
    discriminator = make(models, "adapter", epochs=1)
    assert discriminator.update(old, 0)["replayed"] == 0
    drawn = discriminator._replay(1)
    assert len(drawn) == 3 == len(set(drawn)) and set(drawn) <= set(old)
    assert drawn == discriminator._replay(1) and drawn != discriminator._replay(2)
    seen = []
    train = discriminator._train
    discriminator._train = lambda rows, margins, number: (
        seen.append((len(rows), margins)) or train(rows, margins, number)
    )
    assert discriminator.update(new, 1)["replayed"] == 3
    assert seen == [(14, [p.margin for p in new + drawn])]
    assert discriminator.learnt == old + new


def test_replay_changes_what_is_learnt_and_none_is_none(models):
    ends = []
    for replay in (0, 3):
        discriminator = make(models, "adapter", replay=replay, epochs=1)
        discriminator.update(labelled(4), 0)
        assert discriminator.update(labelled(2, seed=1), 1)["replayed"] == replay
        ends.append(discriminator.digest())
    assert ends[0] != ends[1]


# --- determinism ------------------------------------------------------------------------------------------------------


def test_saved_and_loaded_it_goes_on_exactly(models, variant, tmp_path):
    """Killed after the second of three updates or not: the same weights and the same scores, bit by bit."""
    batches = [labelled(5, seed) for seed in range(3)]
    straight = make(models, variant, epochs=2)
    for number, pairs in enumerate(batches):
        straight.update(pairs, number)
        if number == 1:
            straight.save(tmp_path / "state")
    resumed = make(models, variant, epochs=2)
    assert resumed.digest() != straight.digest()
    resumed.load(tmp_path / "state")
    torch.randn(7)
    metrics = resumed.update(batches[2], 2)
    assert metrics["replayed"] == 3 and resumed.digest() == straight.digest() and resumed.learnt == straight.learnt
    assert scores_of(resumed, batches[0]) == scores_of(straight, batches[0])


def test_another_seed_or_number_is_another_run(models):
    ends = {}
    for seed, number in ((0, 0), (0, 0), (1, 0), (0, 5)):
        discriminator = make(models, "all weights", seed=seed, epochs=1)
        discriminator.updates = number
        discriminator.update(labelled(6), number)
        ends.setdefault((seed, number), set()).add(discriminator.digest())
    assert [len(found) for found in ends.values()] == [1, 1, 1] and len(set.union(*ends.values())) == 3
    assert seed_of(1, 23) != seed_of(12, 3) and 0 <= seed_of("a") < 2**63


def test_every_pass_takes_all_pairs_in_an_order_of_its_own(models):
    discriminator = make(models, "adapter", epochs=3, batch_size=2)
    taken = []
    discriminator._step = lambda batch, *_: taken.extend(batch) or 0.0
    discriminator._train([discriminator.encoder.encode("a", "b")] * 14, [None] * 7, 0)
    passes = [tuple(taken[start : start + 7]) for start in (0, 7, 14)]
    assert len(taken) == 21 and len(set(passes)) == 3 and all(sorted(order) == list(range(7)) for order in passes)


def test_the_random_state_of_the_process_is_left_alone(models, variant, tmp_path):
    """And what it is does not matter."""
    ends = []
    for seed in (3, 4):
        torch.manual_seed(seed)
        random.seed(seed)
        before = torch.get_rng_state(), random.getstate()
        discriminator = make(models, variant, epochs=1)
        discriminator.update(labelled(4), 0)
        discriminator.score(["a"], ["b"])
        discriminator.save(tmp_path / str(seed))
        discriminator.load(tmp_path / str(seed))
        assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
        ends.append(discriminator.digest())
    assert ends[0] == ends[1]


def test_dropout_is_on_in_training_and_off_in_scoring(models):
    discriminator = make(models, "all weights", epochs=1)
    pairs = labelled(4)
    modes = []
    handle = discriminator.model.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    assert scores_of(discriminator, pairs) == scores_of(discriminator, pairs)
    assert set(modes) == {False}
    modes.clear()
    discriminator.update(pairs, 0)
    handle.remove()
    assert modes == [False, False, True, False, False]  # accuracy before, one step, accuracy after
    assert scores_of(discriminator, pairs) == scores_of(discriminator, pairs)


# --- scores -----------------------------------------------------------------------------------------------------------


def test_a_score_does_not_depend_on_what_is_scored_beside_it(models, variant):
    discriminator = make(models, variant, batch_size=3)
    discriminator.update(labelled(4), 0)
    prompts = [f"{'Why? ' * (index % 4 + 1)}" for index in range(7)]
    responses = [" ".join(WORDS[: 1 + 3 * index % 8]) for index in range(7)]
    together = discriminator.score(prompts, responses)
    alone = [discriminator.score([p], [r])[0] for p, r in zip(prompts, responses, strict=True)]
    assert together == pytest.approx(alone, abs=1e-5) and len(set(together)) == 7
    assert discriminator.score(prompts[::-1], responses[::-1]) == pytest.approx(together[::-1], abs=1e-5)
    assert discriminator.score([], []) == []


def test_a_model_that_reads_both_ways_does_not_read_the_padding(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    build_tokenizer(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_labels=1,
                            intermediate_size=64, initializer_range=0.3)  # fmt: skip
        BertForSequenceClassification(config).save_pretrained(tmp_path)
    discriminator = load_discriminator(str(tmp_path), DiscriminatorSettings(learning_rate=1e-2, epochs=20))
    pairs = labelled(6)
    assert discriminator.update(pairs, 0)["accuracy_after"] == 1.0
    texts = ["water", "water bread " * 9]
    together = discriminator.score(["Why?"] * 2, texts)
    assert together == pytest.approx([discriminator.score(["Why?"], [text])[0] for text in texts], abs=1e-5)


def test_a_fresh_dpo_discriminator_knows_nothing_and_a_trained_one_is_a_difference_of_log_probs(models):
    discriminator = make(models, "dpo")
    pairs = labelled(4)
    assert scores_of(discriminator, pairs) == [0.0] * 8
    discriminator.update(pairs, 0)
    prompt, response = "Why?", "water water"
    text = f"Question: {prompt}\n\nAnswer: "
    whole = discriminator.tokenizer(text + response, return_offsets_mapping=True)
    ids = torch.tensor([whole["input_ids"]])
    first = next(i for i, (_, end) in enumerate(whole["offset_mapping"]) if end > len(text))

    def logp():
        with torch.no_grad():
            logps = torch.log_softmax(discriminator.model(input_ids=ids).logits[0].double(), -1)
        return sum(logps[t - 1, ids[0, t]].item() for t in range(first, ids.shape[1]))

    with discriminator.model.disable_adapter():
        base = logp()
    expected = logp() - base
    assert abs(expected) > 0.05
    assert discriminator.score([prompt], [response])[0] == pytest.approx(expected, abs=1e-4)


def test_beta_scales_the_loss_of_a_dpo_discriminator_and_not_its_scores(models):
    pairs = labelled(3)
    start = make(models, "dpo", epochs=6)
    start.update(pairs, 0)
    scores = torch.tensor(scores_of(start, pairs))
    rows = [start.encoder.encode(p.prompt, t) for p in pairs for t in (p.chosen, p.rejected)]
    for module in start.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    (loss, *_) = start._train(rows, [None] * 3, 1)
    expected = -torch.nn.functional.logsigmoid(0.5 * (scores[::2] - scores[1::2])).mean()
    assert loss == pytest.approx(expected.item(), abs=1e-5)


def test_a_dpo_discriminator_goes_on_from_an_adapter(models, tmp_path):
    adapter = build_adapter(models["dpo"], tmp_path / "adapter")
    settings = DiscriminatorSettings(kind="dpo", lora_rank=4)
    discriminator = load_discriminator(str(adapter), settings)
    assert abs(discriminator.score(["Why?"], ["water water"])[0]) > 1e-3
    assert discriminator.trained and all("lora_" in name for name in discriminator.trained)
    with pytest.raises(ValueError, match="rank 4, the settings have 8"):
        load_discriminator(str(adapter), DiscriminatorSettings(kind="dpo"))
    file = adapter / "adapter_model.safetensors"
    save_file({name.replace("layers.1", "layers.7"): value for name, value in load_file(file).items()}, file)
    with pytest.raises(ValueError, match="the adapter does not fit"):
        load_discriminator(str(adapter), settings)


def test_bfloat16_keeps_trained_weights_in_float32(models):
    for name in ("adapter", "dpo"):
        discriminator = make(models, name, dtype="bfloat16", epochs=6)
        assert {p.dtype for p in discriminator.trained.values()} == {torch.float32}
        assert torch.bfloat16 in {p.dtype for p in discriminator.model.parameters()}
        assert discriminator.update(labelled(6), 0)["accuracy_after"] == 1.0


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text_format", "text"),
    [
        ("question_answer", "Question: Why?\n\nAnswer: water tree<eos>"),
        ("plain", "Why?water tree<eos>"),
        ("chat", "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nwater tree<|im_end|>\n"),
    ],
)
def test_text_formats(models, text_format, text):
    encoder = make(models, "all weights", text_format=text_format).encoder
    text = text.replace("<eos>", encoder.tokenizer.eos_token)
    assert encoder.text("Why?", "water tree")[0] == text
    row = encoder.encode("Why?", "water tree")
    marked = [token for token, inside in zip(row.ids, row.in_response, strict=True) if inside]
    assert encoder.tokenizer.decode(row.ids) == text
    assert encoder.tokenizer.decode(marked).strip() == "water tree"  # neither prompt nor end token
    assert not row.truncated


def test_replay_draws_from_the_first_pairs_too(models, tmp_path):
    path = tmp_path / "first.jsonl"
    first = labelled(5, seed=3)
    chat = {"prompt": [{"role": "user", "content": first[0].prompt}],
            "chosen": [{"role": "assistant", "content": first[0].chosen}],
            "rejected": [{"role": "assistant", "content": first[0].rejected}], "margin": first[0].margin}  # fmt: skip
    path.write_text("\n".join(json.dumps(row) for row in [chat, *(pair._asdict() for pair in first[1:])]))
    assert read_first_pairs(str(path), "margin") == first
    discriminator = make(models, "adapter", epochs=1)
    discriminator.learnt += read_first_pairs(str(path), "bt")
    assert discriminator.update(labelled(2), 0)["replayed"] == 3 and discriminator.learnt[:5] == first
    discriminator.save(tmp_path / "state")
    again = make(models, "adapter", epochs=1)
    again.load(tmp_path / "state")
    assert again.learnt == discriminator.learnt


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "chosen": "b"}, r"first\.jsonl:2: not a pair, found chosen, prompt; valid"),
        ({"prompt": None, "chosen": "b", "rejected": "c"}, r"first\.jsonl:2: .* the row has no field 'prompt'"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "the answers in 'chosen' and 'rejected' are equal"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "has margin None"),
        ([1], r"first\.jsonl:2: expected one JSON object per line"),
    ],
)
def test_first_pairs_that_are_none_are_refused_by_line(tmp_path, row, message):
    path = tmp_path / "first.jsonl"
    path.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c", "margin": 1}) + "\n" + json.dumps(row))
    with pytest.raises(ValueError, match=message):
        read_first_pairs(str(path), "margin")


def test_a_template_that_strips_and_a_response_without_words(models):
    encoder = make(models, "all weights", text_format="chat").encoder
    row = encoder.encode("user", "user")  # the prompt holds the same word
    assert sum(row.in_response) and not any(row.in_response[: len(row.ids) // 2])
    assert not any(encoder.encode("Why?", "").in_response)
    encoder.tokenizer.chat_template = encoder.tokenizer.chat_template.replace("['content']", "['content'] | trim")
    row = encoder.encode("Why?", "  water ")
    assert encoder.tokenizer.decode([i for i, r in zip(row.ids, row.in_response, strict=True) if r]) == "water"


def test_a_template_that_opens_an_asked_for_response_otherwise(models):
    """Then the response is looked for from the end: the prompt may hold the same words."""
    encoder = make(models, "all weights", text_format="chat").encoder
    template = encoder.tokenizer.chat_template.replace("assistant\n{% endif %}", "assistant\n<think>{% endif %}")
    encoder.tokenizer.chat_template = template
    row = encoder.encode("user", "user")
    assert sum(row.in_response) and not any(row.in_response[: len(row.ids) // 2])


def test_what_is_too_long_loses_its_beginning_and_is_counted(models):
    discriminator = make(models, "all weights", max_length=40, epochs=1)
    long = discriminator.encoder.encode("Why? " * 30, "water tree")
    assert long.truncated and len(long.ids) == 40
    assert discriminator.tokenizer.decode(long.ids).endswith(f"Answer: water tree{discriminator.tokenizer.eos_token}")
    discriminator.score(["Why? " * 30, "a"], ["water", "b"])
    discriminator.score(["a"], ["b"])
    pairs = [LabelledPair("Why? " * 30, "water", "tree", None), LabelledPair("", "water", "tree", None)]
    metrics = discriminator.update(pairs, 0)
    assert (metrics["truncated"], metrics["truncated_in_scoring"]) == (2, 1)
    assert discriminator.update([], 1)["truncated_in_scoring"] == 0
    assert make(models, "all weights", max_length=10_000).encoder.max_length == 256  # positions of the model


# --- refusals and files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "clasifier"}, "did you mean 'classifier'"),
        ({"loss": "hinge"}, "valid are"),
        ({"text_format": "chatt"}, "did you mean 'chat'"),
        ({"dtype": "float8"}, "dtype is 'float8'"),
        ({"kind": "dpo", "lora_rank": 0}, "model without adapter"),
        ({"dtype": "bfloat16", "lora_rank": 0}, "needs 'float32'"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"replays": 3}, "replays"),
    ],
)
def test_settings_that_cannot_work(settings, words):
    with pytest.raises(ValidationError, match=words):
        DiscriminatorSettings(**settings)
    assert issubclass(ValidationError, ValueError)


def test_models_that_are_no_discriminator(models, tmp_path):
    settings = DiscriminatorSettings()
    with pytest.raises(ValueError, match="3 labels, a discriminator has 1"):
        load_discriminator(str(build_classifier(tmp_path / "three")), settings)
    with pytest.raises(ValueError, match="2 labels"):
        load_discriminator(str(models["dpo"]), settings)
    headless = build_model(tmp_path / "headless")
    config = json.loads((headless / "config.json").read_text())
    (headless / "config.json").write_text(json.dumps(config | {"id2label": {"0": "score"}, "label2id": {"score": 0}}))
    with pytest.raises(ValueError, match="not a trained classifier, its weights lack score"):
        load_discriminator(str(headless), settings)
    with pytest.raises(ValueError, match="nowhere"):
        load_discriminator(str(tmp_path / "nowhere"), settings)
    no_template = build_classifier(tmp_path / "plain", chat=False, labels=1)
    with pytest.raises(ValueError, match="no chat template"):
        load_discriminator(str(no_template), DiscriminatorSettings(text_format="chat"))


def test_calls_that_do_not_fit(models):
    discriminator = make(models, "adapter", loss="margin")
    digest = discriminator.digest()
    with pytest.raises(ValueError, match="2 prompts and 1 responses"):
        discriminator.score(["a", "b"], ["c"])
    with pytest.raises(ValueError, match="update number 2: 0 updates are done"):
        discriminator.update(labelled(1), 2)
    for margin in (None, 0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="pair 0 has margin"):
            discriminator.update([LabelledPair("a", "b", "c", margin)], 0)
    assert discriminator.digest() == digest and discriminator.updates == 0
    assert discriminator.update([], 0) == {"pairs": 0, "replayed": 0, "truncated": 0, "truncated_in_scoring": 0}
    assert discriminator.digest() == digest and discriminator.updates == 1


def test_a_state_of_another_run_or_a_damaged_one_is_refused(models, tmp_path):
    discriminator = make(models, "adapter")
    discriminator.update(labelled(3), 0)
    state = tmp_path / "state"
    discriminator.save(state)
    discriminator.save(state)  # again, over itself
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]
    with pytest.raises(ValueError, match=r"written with learning_rate 0\.01, this run has 0\.5"):
        make(models, "adapter", learning_rate=0.5).load(state)
    with pytest.raises(ValueError, match=r"no discriminator\.json"):
        discriminator.load(tmp_path)
    other = build_classifier(tmp_path / "other", labels=1, seed=9)
    with pytest.raises(ValueError, match="for another model"):
        load_discriminator(str(other), discriminator.settings).load(state)
    record = json.loads((state / "discriminator.json").read_text())
    (state / "discriminator.json").write_text(json.dumps(record | {"digest": "0" * 64}))
    with pytest.raises(ValueError, match="damaged"):
        make(models, "adapter").load(state)


def test_a_save_that_is_cut_off_leaves_the_old_state(models, tmp_path):
    discriminator = make(models, "adapter")
    discriminator.update(labelled(3), 0)
    discriminator.save(tmp_path / "state")
    digest = discriminator.digest()
    discriminator.update(labelled(3), 1)
    size = (tmp_path / "state" / "weights.safetensors").stat().st_size
    assert (tmp_path / "state" / "optimiser.pt").stat().st_size > size  # so the limit cuts that file off
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises((OSError, RuntimeError)):
            discriminator.save(tmp_path / "state")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    discriminator.load(tmp_path / "state")
    assert discriminator.digest() == digest and discriminator.updates == 1


def test_importing_the_interface_costs_no_torch():
    code = "import sys, trl_ext.d2po.discriminator, trl_ext.d2po.remote; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_accuracy_counts_a_tie_half():
    assert accuracy([1.0, -1.0, 0.0, 2.0]) == 0.625
