"""How prompts and completions are written for reward models: HH transcripts, posts, cleaned responses.

Prompts are texts or lists of messages, as they were before the weights were written into them.
"""

import re
from collections.abc import Sequence

from trl_ext.online_dpo.prompts import Prompt, last_user_text

_MARKERS = {"system": "", "user": "\n\nHuman: ", "assistant": "\n\nAssistant: "}
_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ASK = " \n\nAssistant:"  # with the space: the spelling that the HH reward models were trained on
_POST = re.compile(r"### Input:(.*?)(?:### Response:|\Z)", re.DOTALL)
_NEXT_TURN = re.compile(r"(?:\A|\n)\s*(?:Human|Assistant):|\n\n\n")


def transcript(prompt: Prompt) -> str:
    """The prompt as an HH transcript that asks for the next reply: `\\n\\nHuman: ... \\n\\nAssistant:`.

    A text with turn markers keeps its turns; one without is a single human turn. A system message stands in front. A
    reply that was begun is left to be continued.

    Raises:
        ValueError: a role other than system, user and assistant, which a transcript has no marker for.
    """
    if isinstance(prompt, str):
        text = prompt.strip()
        if not _TURN.search(text):
            text = f"Human: {text}"
        text = f"\n\n{text}"
        if text.endswith("\n\nAssistant:"):
            return text.removesuffix("\n\nAssistant:").rstrip() + _ASK
        return text if _TURN.findall(text)[-1] == "Assistant" else text + _ASK
    for turn in prompt:
        if turn["role"] not in _MARKERS:
            raise ValueError(f"role {turn['role']!r} has no place in a transcript: use one of {list(_MARKERS)}")
    text = "".join(f"{_MARKERS[turn['role']]}{turn['content'].strip()}" for turn in prompt)
    return text if prompt[-1]["role"] == "assistant" else text + _ASK


def post(prompt: Prompt) -> str:
    """The text to be summarised, on one line: what stands between `### Input:` and `### Response:`, or all of it."""
    text = last_user_text(prompt)
    marked = _POST.search(text)
    return " ".join((marked[1] if marked else text).split("\n")).strip()


def remove_tokens(text: str, tokens: Sequence[str]) -> str:
    """The text without the spelling of these tokens, also where taking one out joins the halves of another."""
    before = None
    while before != text:
        before = text
        for token in tokens:
            text = text.replace(token, "")
    return text


def clean_response(response: str, *, headings: bool) -> str:
    """The response alone, without what the policy wrote after it: cut at the next turn marker and at two empty lines.

    Args:
        headings: whether `###` belongs to the response. In an answer it opens a heading; a summariser that was
            prompted with `### Input:` runs on into the next `###`.
    """
    response = _NEXT_TURN.split(response.strip(), maxsplit=1)[0]
    if not headings:
        response = response.split("###", 1)[0]
    return response.strip()
