"""Reward models by name: what each of them reads, its logit, batches, functions, refusals."""

import json

import numpy as np
import pytest
import torch

from tests.moodpo.reward_models import KINDS, build_registry, build_reward_model
from trl_ext.moodpo.rewards import REGISTRY, RewardBundle, RewardSpec, get_reward_specs

# --- names ------------------------------------------------------------------------------------------------------------

KNOWN = {
    "helpful": ("Ray2333/gpt2-large-helpful-reward_model", "pair", 1, 0),
    "harmless": ("Ray2333/gpt2-large-harmless-reward_model", "pair", 1, 0),
    "humor": ("mohameddhiab/humor-no-humor", "response", 2, 1),
    "summary": ("Tristan/gpt2_reward_summarization", "reversed", 1, 0),
    "faithful": ("CogComp/bart-faithful-summary-detector", "reply_post", 2, 1),
    "deberta": ("OpenAssistant/reward-model-deberta-v3-large-v2", "pair", 1, 0),
}


def test_the_six_models_of_the_registry():
    found = {s.name: (s.source, s.form, s.labels, s.logit) for s in REGISTRY.values()}
    assert found == KNOWN and list(REGISTRY) == [s.name for s in REGISTRY.values()]
    assert get_reward_specs(["humor", "helpful"]) == [REGISTRY["humor"], REGISTRY["helpful"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("helpful=/models/h", RewardSpec("helpful", "classifier", "/models/h", "pair", 1, 0)),
        ("summary=me/copy", RewardSpec("summary", "classifier", "me/copy", "reversed", 1, 0)),
        ("kind=helpful", RewardSpec("kind", "classifier", KNOWN["helpful"][0], "pair", 1, 0)),
        ("brevity", RewardSpec("brevity", "function", "brevity")),
        ("short=brevity", RewardSpec("short", "function", "brevity")),
        ("polite=my_package.rewards:polite_one", RewardSpec("polite", "function", "my_package.rewards:polite_one")),
        ("my_package.rewards:polite_one", RewardSpec("polite_one", "function", "my_package.rewards:polite_one")),
        ("org/some.model-v1", RewardSpec("some_model-v1", "classifier", "org/some.model-v1")),
        ("safe=/models/safe#1", RewardSpec("safe", "classifier", "/models/safe", logit=1)),
        ("/models/safe/", RewardSpec("safe", "classifier", "/models/safe/")),
    ],
)
def test_values_of_the_flag(text, expected):
    assert get_reward_specs([text]) == [expected]


def test_a_folder_is_a_classifier_without_a_slash_too(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert get_reward_specs(["mine", "helpful=mine"]) == [
        RewardSpec("mine", "classifier", "mine"),
        RewardSpec("helpful", "classifier", "mine", "pair", 1, 0),
    ]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["helpfull"], "unknown reward model 'helpfull'; did you mean 'helpful'\\?"),
        (["brevety"], "did you mean 'brevity'\\?"),
        (["of_few_words=brevety"], "unknown reward model 'of_few_words=brevety'; did you mean 'brevity'\\?"),
        (["zzz"], "unknown reward model 'zzz'. Valid: one of helpful, harmless"),
        (["=x"], "expected NAME=SOURCE"),
        (["helpful="], "expected NAME=SOURCE"),
        (["helpful", "helpful=/m"], "'helpful' is named twice"),
        (["a.b=brevity"], "objective name 'a.b'"),
        (["humor=/m/humor#0"], "the logit of 'humor' is known"),
        ([], "at least one objective"),
    ],
)
def test_values_that_are_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        get_reward_specs(texts)


# --- what each model reads --------------------------------------------------------------------------------------------

BOS = "<|endoftext|>"
ASSISTANT = (
    [{"role": "user", "content": "Name three animals."}],
    "\n\nHuman: Why is the sky blue?\n\nAssistant: Air.\n\nHuman: Sure? \n\nAssistant:",
    "Bread?",
    [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Sea?"},
        {"role": "assistant", "content": "Wet."},
        {"role": "user", "content": "Salt?"},
    ],
)
TRANSCRIPTS = (
    "\n\nHuman: Name three animals. \n\nAssistant:",
    "\n\nHuman: Why is the sky blue?\n\nAssistant: Air.\n\nHuman: Sure? \n\nAssistant:",
    "\n\nHuman: Bread? \n\nAssistant:",
    "Be kind.\n\nHuman: Sea?\n\nAssistant: Wet.\n\nHuman: Salt? \n\nAssistant:",
)
ANSWERS = (
    "A bear, a fox and an owl.",
    " Because of the air.\n\nHuman: and then? \n\nAssistant: more",
    "# Bread\n### Dough\nFlour, water.\n\n\n\nSalt",
    "Yes.<|endoftext|><|im_end|>",
)
CLEAN_ANSWERS = ("A bear, a fox and an owl.", "Because of the air.", "# Bread\n### Dough\nFlour, water.", "Yes.")
POSTS = (
    "### Instruction: Summarise. ### Input: I planted a tree\nin a small garden. ### Response: ",
    [{"role": "user", "content": "She walked to\nthe library."}],
    "Good tools make\nlight work.",
    [{"role": "user", "content": "### Input: Cold water. ### Response:"}],
)
CLEAN_POSTS = (
    "I planted a tree in a small garden.",
    "She walked to the library.",
    "Good tools make light work.",
    "Cold water.",
)
SUMMARIES = ("A tree was planted.", "She walked. ### Instruction: more", " Tools help.\n\n\nEnd", "Water.\nHuman: no")
CLEAN_SUMMARIES = ("A tree was planted.", "She walked.", "Tools help.", "Water.")

CASES = {  # prompts, completions, and the input of the tokenizer with its special tokens written out
    "pair": (ASSISTANT, ANSWERS, [t + a for t, a in zip(TRANSCRIPTS, CLEAN_ANSWERS, strict=True)]),
    "response": (ASSISTANT, ANSWERS, [f"<|im_start|>{a}<|im_end|>" for a in CLEAN_ANSWERS]),
    "reversed": (POSTS, SUMMARIES, [f"{s} {BOS} {p}" for s, p in zip(CLEAN_SUMMARIES, CLEAN_POSTS, strict=True)]),
    "reply_post": (
        POSTS,
        SUMMARIES,
        [
            f"<|im_start|>{s}<|im_end|><|im_end|>{p}<|im_end|>"
            for s, p in zip(CLEAN_SUMMARIES, CLEAN_POSTS, strict=True)
        ],
    ),
    "deberta": (
        ASSISTANT,
        ANSWERS,
        [f"<|im_start|>{t}<|im_end|>{a}<|im_end|>" for t, a in zip(TRANSCRIPTS, CLEAN_ANSWERS, strict=True)],
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return build_registry(tmp_path_factory.mktemp("rewards"))


def bundle(folders, *names, **settings) -> RewardBundle:
    return RewardBundle(get_reward_specs([f"{name}={folders[name]}" for name in names]), **settings)


def direct(folder, text: str, logit: int) -> float:
    """One forward of one row without padding; the tokens come from a tokenizer that adds nothing by itself.

    A pair is split where its second text begins, because a tokenizer may join letters across that place.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    parts = [text]
    if text.startswith("\n\nHuman:") or text.startswith("Be kind."):
        head, marker, tail = text.rpartition("\n\nAssistant:")
        parts = [head + marker, tail]
    ids = [token for part in parts for token in tokenizer.encode(part, add_special_tokens=False)]
    inputs = {"input_ids": torch.tensor([ids])}
    if "token_type_ids" in tokenizer("a", "b"):
        first_end = ids.index(2) + 1
        inputs["token_type_ids"] = torch.tensor([[0] * first_end + [1] * (len(ids) - first_end)])
    with torch.no_grad():
        return model(**inputs).logits[0, logit].item()


@pytest.mark.parametrize("name", list(KINDS))
def test_each_model_reads_its_own_form_and_gives_its_own_logit(folders, name):
    prompts, completions, texts = CASES["deberta" if name == "deberta" else KNOWN[name][1]]
    expected = np.array([direct(folders[name], text, KNOWN[name][3]) for text in texts])
    assert np.ptp(expected) > 1e-2
    found = bundle(folders, name).score(prompts, completions)
    assert found.shape == (4, 1) and found.dtype == np.float64
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-5, rtol=0)


def test_the_columns_stand_in_the_order_of_the_names(folders):
    prompts, completions, _ = CASES["pair"]
    names = ["humor", "harmless", "helpful"]
    both = bundle(folders, *names)
    assert both.names == names
    columns = [bundle(folders, name).score(prompts, completions)[:, 0] for name in names]
    np.testing.assert_allclose(both.score(prompts, completions), np.stack(columns, axis=1), atol=1e-5)


@pytest.mark.parametrize("name", list(KINDS))
def test_a_score_does_not_depend_on_its_batch_and_no_row_is_scored_twice(folders, name):
    prompts, completions, _ = CASES["deberta" if name == "deberta" else KNOWN[name][1]]
    prompts, completions = list(prompts) * 3, [f"{text}{'!' * n}" for n, text in enumerate(completions * 3)]
    alone = np.concatenate([bundle(folders, name).score([p], [c]) for p, c in zip(prompts, completions, strict=True)])
    for batch_size in (1, 5, 32):
        rewards = bundle(folders, name, batch_size=batch_size)
        sizes = []
        rewards.models[name].model.register_forward_hook(lambda module, args, out, s=sizes: s.append(len(out.logits)))
        found = rewards.score(prompts, completions)
        np.testing.assert_allclose(found, alone, atol=1e-5, rtol=0)
        assert sum(sizes) == 12 and len(sizes) == -(-12 // batch_size)
        order = np.random.default_rng(0).permutation(12)
        again = rewards.score([prompts[k] for k in order], [completions[k] for k in order])
        np.testing.assert_allclose(again, found[order], atol=1e-5, rtol=0)


def test_a_model_without_a_pad_id_scores_the_last_token_whatever_it_is(folders):
    """Rows that end in the lowest ids, padded in one batch: the borrowed pad id is none of theirs."""
    from transformers import AutoModelForSequenceClassification

    from trl_ext.moodpo.reward_model import RewardModel

    (spec,) = get_reward_specs([f"helpful={folders['helpful']}"])
    model = RewardModel(spec)
    assert model.borrows_pad
    rows = [{"input_ids": [9, 8, *end], "attention_mask": [1] * (2 + len(end))} for end in ([0], [1, 0], [7, 7, 7, 2])]
    together = model.score(rows, batch_size=3)
    plain = AutoModelForSequenceClassification.from_pretrained(folders["helpful"]).eval()
    alone = torch.cat([plain(input_ids=torch.tensor([row["input_ids"]])).logits[0].detach() for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert together.unique().numel() == 3


def test_completions_may_be_messages(folders):
    prompts, completions, _ = CASES["pair"]
    rewards = bundle(folders, "helpful")
    turns = [[{"role": "assistant", "content": text}] for text in completions]
    np.testing.assert_array_equal(rewards.score(prompts, turns), rewards.score(prompts, completions))


def test_special_tokens_in_a_text_stay_text(folders):
    """Their spelling in a prompt or a completion must not move the place that the model reads its score from."""
    rewards = bundle(folders, "helpful", "faithful")
    clean = rewards.score(["Why?"], ["Because it is so."])
    forged = rewards.score([f"Why?{BOS}<|im_end|>"], [f"Because <|endof{BOS}text|>it<|im_end|> is so."])
    np.testing.assert_array_equal(forged, clean)


def test_precision_and_gradients(folders):
    rewards = bundle(folders, "helpful", dtype="bfloat16")
    model = rewards.models["helpful"].model
    assert (
        model.dtype == torch.bfloat16 == bundle(folders, "helpful", dtype=torch.bfloat16).models["helpful"].model.dtype
    )
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ValueError, match="torch_dtype 'int8'"):
        bundle(folders, "helpful", dtype="int8")


# --- too long ---------------------------------------------------------------------------------------------------------

WORDS = " ".join(str(number) for number in range(300))


def limited(tmp_path, name: str, limit: int = 40):
    kind, labels = KINDS[name]
    folder = build_reward_model(tmp_path / name, kind, labels, limit=limit)
    return RewardBundle(get_reward_specs([f"{name}={folder}"])).models[name]


def test_a_transcript_loses_its_beginning(tmp_path):
    model = limited(tmp_path, "helpful")
    answer = "A bear and a fox."
    tokens = model.tokenizer.encode(answer)
    kept = model.encode(f"First {WORDS} last", answer)["input_ids"]
    assert len(kept) == 40 and kept[-len(tokens) :] == tokens
    assert model.tokenizer.decode(kept[: -len(tokens)]).endswith("299 last \n\nAssistant:")


def test_a_post_loses_its_end(tmp_path):
    for name in ("summary", "faithful"):
        model = limited(tmp_path, name)
        kept = model.tokenizer.decode(model.encode(f"First {WORDS} last", "Numbers.")["input_ids"])
        marks = (
            f"Numbers. {BOS} First 0 1 2"
            if name == "summary"
            else "<|im_start|>Numbers.<|im_end|><|im_end|>First 0 1 2"
        )
        assert kept.startswith(marks) and "last" not in kept
        assert name == "summary" or kept.endswith("<|im_end|>")


@pytest.mark.parametrize("name", ["helpful", "faithful"])
def test_of_a_pair_only_the_context_is_cut_while_that_is_enough(tmp_path, name):
    """Also where the response is the longer of the two: cutting the longer one first would take its end."""
    model = limited(tmp_path, name, 32)
    answer = "A bear, a fox, an owl."
    tokens = model.tokenizer.encode(answer, add_special_tokens=False)
    assert 16 < len(tokens) < 28, "more than half of the 32"
    kept = model.encode("1 2 3 4 5 6 7 8 9", answer)["input_ids"]
    place = 32 - len(tokens) if name == "helpful" else 1
    assert len(kept) == 32 and kept[place : place + len(tokens)] == tokens
    for count in range(40):  # through the length from which on nothing of the context would be left
        assert len(model.encode("1 2 3 4 5 6 7 8 9", "a" * count)["input_ids"]) <= 32


@pytest.mark.parametrize("name", list(KINDS))
def test_a_response_that_is_too_long_by_itself_is_cut_last(tmp_path, name):
    model = limited(tmp_path, name)
    row = model.encode("Count.", WORDS)
    assert len(row["input_ids"]) == 40
    assert torch.isfinite(model.score([row])).all()


@pytest.mark.parametrize(
    ("name", "limit", "expected"), [("helpful", None, 1024), ("helpful", 64, 64), ("humor", None, 512)]
)
def test_the_limit_is_the_smallest_of_tokenizer_model_and_1024(tmp_path, name, limit, expected):
    model = limited(tmp_path, name, limit)
    assert model.max_length == expected
    assert len(model.encode("Count.", WORDS * 9)["input_ids"]) == expected


def test_a_gpt2_calls_its_positions_by_another_name(tmp_path):
    folder = build_reward_model(tmp_path / "short", "gpt2", 1, positions=96)
    rewards = RewardBundle(get_reward_specs([f"helpful={folder}"]))
    assert rewards.models["helpful"].max_length == 96
    assert np.isfinite(rewards.score(["Count."], [WORDS])).all()


# --- any other classifier ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chat", [True, False])
def test_another_classifier_reads_the_conversation(tmp_path, chat):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from tests.tiny import build_classifier

    folder = build_classifier(tmp_path / "safe", chat=chat, labels=3)
    rewards = RewardBundle(get_reward_specs([f"safe={folder}#2"]))
    found = rewards.score(["Why?", [{"role": "user", "content": "Why?"}]], ["So."] * 2)[:, 0]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    text = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>\n"
    ids = tokenizer.encode(text, add_special_tokens=False) if chat else tokenizer.encode("Why?", "So.")
    with torch.no_grad():
        expected = model.eval()(input_ids=torch.tensor([ids])).logits[0, 2].item()
    np.testing.assert_allclose(found, [expected] * 2, atol=1e-5)


def test_of_several_logits_one_must_be_chosen(tmp_path, folders):
    from tests.tiny import build_classifier

    folder = build_classifier(tmp_path / "safe", labels=3)
    with pytest.raises(ValueError, match=r"has 3 logits .*choose one, such as safe="):
        RewardBundle(get_reward_specs([f"safe={folder}"]))
    with pytest.raises(ValueError, match=r"has no head 3, which the #3 of safe=.*#3 chose; it has 3"):
        RewardBundle(get_reward_specs([f"safe={folder}#3"]))
    with pytest.raises(
        ValueError,
        match=r"'helpful' at .*: 2 logits .*, expected 1 by the objective's name 'helpful' .*take another name: my_helpful=",
    ):
        RewardBundle(get_reward_specs([f"helpful={folders['humor']}"]))
    with pytest.raises(
        ValueError,
        match=r"has no head 1, which the objective's name 'humor' \(the names helpful, .*\) chose; it has 1, counted from 0: 0 \(kind 0\)$",
    ):
        RewardBundle(get_reward_specs([f"humor={folders['helpful']}"]))


def without_weight(folder, target, ending: str):
    """A copy of a model that lacks the weights whose names end so."""
    from safetensors.torch import load_file, save_file

    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    weights = load_file(target / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.endswith(ending)}
    assert len(kept) < len(weights)
    save_file(kept, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.mark.parametrize(
    ("name", "ending"), [("helpful", "score.weight"), ("faithful", "out_proj.bias"), ("humor", "pre_classifier.weight")]
)
def test_a_head_that_nobody_trained_is_refused(folders, tmp_path, name, ending):
    folder = without_weight(folders[name], tmp_path / name, ending)
    with pytest.raises(ValueError, match=f"not a trained classifier, its weights lack .*{ending}"):
        RewardBundle(get_reward_specs([f"{name}={folder}"]))


def test_a_reward_model_that_is_not_at_hand_is_named_with_the_way_to_give_a_copy():
    message = (
        "reward model 'harmless': no/such: neither a model directory nor a hub model at hand.*; .* is harmless=FOLDER"
    )
    with pytest.raises(ValueError, match=message):
        RewardBundle(get_reward_specs(["harmless=no/such"]))


def test_a_language_model_is_no_reward_model(tiny):
    with pytest.raises(ValueError, match=r"not a trained classifier, its weights lack .*score\.weight"):
        RewardBundle(get_reward_specs([f"helpful={tiny}"]))


def test_reversed_order_needs_a_beginning_of_text_token(folders):
    with pytest.raises(ValueError, match="no beginning-of-text token"):
        RewardBundle(get_reward_specs([f"summary={folders['deberta']}"]))


# --- functions --------------------------------------------------------------------------------------------------------

seen = []


def letters(prompts, completions):
    seen.append((prompts, completions))
    return [len(text) for text in completions]


def broken(prompts, completions):
    return [float("nan"), float("inf"), None, -float("inf"), 1.5][: len(completions)]


def short(prompts, completions):
    return [1.0]


HERE = "tests.moodpo.test_rewards"
NUMBER = 5


def test_functions_get_the_original_prompts_and_texts():
    seen.clear()
    rewards = RewardBundle(get_reward_specs([f"{HERE}:letters", "brevity"]))
    prompts = ["Why?", [{"role": "user", "content": "How?"}]]
    scores = rewards.score(prompts, ["one two", [{"role": "assistant", "content": "one"}]])
    np.testing.assert_array_equal(scores, [[7, -2], [3, -1]])
    assert seen == [(prompts, ["one two", "one"])] and rewards.names == ["letters", "brevity"]


def test_token_counts_reach_the_function_that_needs_them():
    rewards = RewardBundle(get_reward_specs(["negative_response_tokens"]))
    np.testing.assert_array_equal(rewards.score(["a"], ["b"], response_tokens=[301]), [[-301.0]])
    with pytest.raises(ValueError, match="counts tokens: score needs response_tokens"):
        rewards.score(["a"], ["b"])


def test_scores_that_are_no_numbers_are_counted_for_their_objective():
    rewards = RewardBundle(get_reward_specs([f"{HERE}:broken", "brevity"]))
    for turn in (1, 2):
        scores = rewards.score(["a"] * 5, ["b"] * 5)
        np.testing.assert_array_equal(scores[:, 0], [np.nan] * 4 + [1.5])
        np.testing.assert_array_equal(scores[:, 1], [-1.0] * 5)
        assert rewards.not_finite == {"broken": 4 * turn, "brevity": 0}


def test_a_model_that_gives_nan_and_an_empty_response_are_counted(folders, tmp_path):
    rewards = bundle(folders, "harmless")
    rewards.models["harmless"].model.score.weight.data[:] = float("inf")
    assert np.isnan(rewards.score(["a", "b"], ["c", "d"])).all() and rewards.not_finite == {"harmless": 2}
    folder = build_reward_model(tmp_path / "plain", "gpt2", 2)
    rewards = RewardBundle(get_reward_specs([f"humor={folder}"]))
    scores = rewards.score(["a", "a"], ["", "b"])[:, 0]
    assert np.isnan(scores[0]) and np.isfinite(scores[1]) and rewards.not_finite == {"humor": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no_such_package_here:f", "cannot be imported: No module named"),
        (f"{HERE}:nothing", "cannot be imported: .*nothing"),
        (f"{HERE}:NUMBER", "is a int, not a function"),
    ],
)
def test_functions_that_are_not_there_are_refused_before_any_model_is_loaded(text, message):
    with pytest.raises(ValueError, match=message):
        RewardBundle(get_reward_specs(["helpful=/no/such/model", text]))


def test_a_wrong_number_of_scores_or_completions_is_refused():
    rewards = RewardBundle(get_reward_specs([f"{HERE}:short"]))
    with pytest.raises(ValueError, match="returned 1 scores for 2 completions"):
        rewards.score(["a", "b"], ["c", "d"])
    with pytest.raises(ValueError, match="2 prompts and 1 completions"):
        rewards.score(["a", "b"], ["c"])
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        RewardBundle([], batch_size=0)


def test_a_model_with_code_of_its_own_is_refused(folders, tmp_path):
    for file in folders["helpful"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "own.Model"}}))
    with pytest.raises(ValueError, match="brings Python code"):
        RewardBundle(get_reward_specs([f"helpful={tmp_path}"]))
