"""Settings that nobody may see, told by their names: the environment, flags and run files hold keys and passwords."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from datasets_builders.secrets import HIDDEN, hide_passwords

SHORTEST = 6  # characters; anything shorter is a placeholder, which may well be a word of a message
# `token` in the names of a tokenizer's own tokens is no secret, `tokens` counts them.
_SECRET = re.compile(
    r"(?i)(?:^|[^a-z])(?:(?:api|access|private)?_?keys?|(?<!eos_)(?<!bos_)(?<!pad_)(?<!unk_)(?<!end_)token|secrets?"
    r"|pass(?:word|wd|phrase)s?|credentials?|auth(?:orization)?)(?:$|[^a-z])"
)


def is_secret(name: str) -> bool:
    """Whether a setting of this name holds a key, a token, a secret or a password."""
    return _SECRET.search(name) is not None


def shown(name: str, value: object) -> str:
    """The value of a setting as a message may show it: `***` for a secret, without the password of an address."""
    return HIDDEN if is_secret(name) else hide_passwords(str(value))


def secrets_in(*settings: Mapping[str, Any]) -> Iterator[str]:
    """The values that may stand in no message, whatever text they come up in."""
    for mapping in settings:
        yield from (str(value) for name, value in mapping.items() if is_secret(name) and len(str(value)) >= SHORTEST)
