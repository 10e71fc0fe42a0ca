"""A steered policy behind a server: its prompts are written here, its answers come from there."""

import copy
from collections.abc import Sequence

from datasets_builders.messages import Messages
from launch.answers.backends import Answer, Decoding, Item
from launch.answers.prompts import Prompt
from launch.answers.server import REFUSED, UNANSWERED, OpenAIBackend, server_settings
from launch.moodpo.steered import SteeredForm


class ServedPolicy:
    """A policy at a server that speaks the OpenAI protocol; spoken to as a `Policy` is.

    Args:
        form: writes weights into prompts; the server puts its own chat template around them.

    Raises:
        ValueError: an address that is none, or a policy that reads plain texts, which the protocol does not have.
    """

    def __init__(self, form: SteeredForm, base_url: str, api_model: str):
        server_settings(base_url, api_model, Decoding())
        if not form.has_template:
            raise ValueError(
                f"{form.tokenizer.name_or_path}: this policy reads plain texts, for it has no chat template, and a server is "
                "asked in messages: print the texts with --print_prompt"
            )
        self.form, self.base_url, self.api_model = form, base_url, api_model

    def speaking(self, form: SteeredForm) -> "ServedPolicy":
        """The same policy with its conversations in another form."""
        other = copy.copy(self)
        other.form = form
        return other

    def backend(self, decoding: Decoding) -> "SteeredServer":
        """What asks the server."""
        return SteeredServer(self, decoding)


class SteeredServer(OpenAIBackend):
    """The server is asked with the weights of the form; an answer that does not come is an error."""

    def __init__(self, policy: ServedPolicy, decoding: Decoding):
        super().__init__(policy.base_url, policy.api_model, decoding)
        self.form = policy.form

    def generate(self, items: Sequence[Item]) -> list[Answer]:
        """One answer an item, in order.

        Raises:
            ValueError: the server has none.
        """
        answers = super().generate(items)
        for answer in answers:
            if answer.problem.partition(":")[0] in (REFUSED, UNANSWERED):
                raise ValueError(f"the server gave no answer: {answer.problem}")
        return answers

    def _messages(self, prompt: Prompt) -> Messages:
        return self.form.written(prompt.messages)
