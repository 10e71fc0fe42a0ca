"""How prompts and completions are written for reward models."""

import pytest

from trl_ext.moodpo.texts import clean_response, post, remove_tokens, transcript
from trl_ext.online_dpo.prompts import completion_text


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Why?", "\n\nHuman: Why? \n\nAssistant:"),
        ("\n\nHuman: Why?\n\nAssistant:", "\n\nHuman: Why? \n\nAssistant:"),
        ("\n\nHuman: Why? \n\nAssistant:", "\n\nHuman: Why? \n\nAssistant:"),
        ("Human: Why?\n\nAssistant:", "\n\nHuman: Why? \n\nAssistant:"),  # a stripped transcript gets its start back
        (
            "\n\nHuman: Why?\n\nAssistant: So.\n\nHuman: How?",
            "\n\nHuman: Why?\n\nAssistant: So.\n\nHuman: How? \n\nAssistant:",
        ),
        ("\n\nHuman: Why?\n\nAssistant: Because", "\n\nHuman: Why?\n\nAssistant: Because"),
        ("What does Human: mean?", "\n\nHuman: What does Human: mean? \n\nAssistant:"),
        ([{"role": "user", "content": " Why? "}], "\n\nHuman: Why? \n\nAssistant:"),
        (
            [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because"}],
            "\n\nHuman: Why?\n\nAssistant: Because",
        ),
        (
            [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Why?"},
                {"role": "assistant", "content": "So."},
                {"role": "user", "content": "How?"},
            ],
            "Be kind.\n\nHuman: Why?\n\nAssistant: So.\n\nHuman: How? \n\nAssistant:",
        ),
    ],
)
def test_transcripts(prompt, expected):
    assert transcript(prompt) == expected
    assert isinstance(prompt, list) or transcript(expected) == expected


def test_a_role_without_a_marker_is_refused():
    with pytest.raises(ValueError, match="role 'tool' has no place in a transcript"):
        transcript([{"role": "tool", "content": "4"}])


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A long\npost.", "A long post."),
        ("### Instruction: Do. ### Input: A long\n\npost. ### Response: ", "A long  post."),
        ("### Input: no end", "no end"),
        (
            [
                {"role": "user", "content": "first"},
                {"role": "assistant", "content": "x"},
                {"role": "user", "content": " last "},
            ],
            "last",
        ),
    ],
)
def test_posts(prompt, expected):
    assert post(prompt) == expected


def test_a_conversation_without_a_user_has_no_post():
    with pytest.raises(ValueError, match="no user message"):
        post([{"role": "system", "content": "x"}])


@pytest.mark.parametrize(
    ("text", "answer", "summary"),
    [
        (" Yes. ", "Yes.", "Yes."),
        ("Yes.\n\nHuman: why", "Yes.", "Yes."),
        ("Yes.\nAssistant: no", "Yes.", "Yes."),
        ("Yes.\n\n\nNo.", "Yes.", "Yes."),
        ("Yes.\n\nNo.", "Yes.\n\nNo.", "Yes.\n\nNo."),
        ("Human: why", "", ""),
        ("The Human: a study", "The Human: a study", "The Human: a study"),
        ("A\n### B\nc", "A\n### B\nc", "A"),
    ],
)
def test_cleaned_responses(text, answer, summary):
    assert clean_response(text, headings=True) == answer
    assert clean_response(text, headings=False) == summary


def test_tokens_are_removed_until_none_is_left():
    assert remove_tokens("a<s>b<<s>s>c</s>", ["<s>", "</s>"]) == "abc"
    assert remove_tokens("plain", []) == "plain"


def test_completions_are_texts_or_messages():
    assert completion_text("a") == "a" == completion_text([{"role": "assistant", "content": "a"}])
