"""Keys and passwords out of texts: one function for whatever a server sends back and for every message.

A server may echo the headers of a request, and with them the key: as it is, inside a JSON document or the `repr` of a
dict (quotes and backslashes escaped, once or several times), in an address or a form, in HTML, or in base64, alone or
with something in front of it (`Basic` headers). All of these are found.
"""

import re
from base64 import b64encode
from functools import lru_cache

HIDDEN = "***"
_PASSWORD = re.compile(r"(?<=://)[^/\s]*@")
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_URL_SAFE = str.maketrans("+/", "-_")
_BASE64 = "(?:[A-Za-z0-9+/_-]|%2[BbFf])"


def redact(text: str, *secrets: str) -> str:
    """The text with ``***`` for every secret in it, in whatever form it stands there; empty secrets are none."""
    for secret in filter(None, secrets):
        text = _pattern(secret).sub(HIDDEN, text)
    return text


def hide_passwords(text: str) -> str:
    """The text with ``***`` for the ``user:password`` of every address in it."""
    return _PASSWORD.sub(f"{HIDDEN}@", text)


@lru_cache(maxsize=64)
def _pattern(secret: str) -> re.Pattern[str]:
    data = secret.encode()
    forms = ["".join(map(_character, secret)), f"(?i:{data.hex()})"]
    forms += [_base64(data, before) for before in range(3)]
    # The same letters stand for other bytes in another place of a base64 text, so each of three places has a pattern.
    return re.compile("|".join(forms))


def _character(character: str) -> str:
    """A pattern for one character as texts, JSON, Python, addresses and HTML write it, each of them also twice."""
    code = ord(character)
    itself = r"\\{1,32}" if character == "\\" else rf"\\{{0,16}}{re.escape(character)}"
    names = rf"#0{{0,4}}{code}|\#x0{{0,4}}(?i:{code:x})" + (
        f"|{_ENTITIES[character]}" if character in _ENTITIES else ""
    )
    # Bounded, so that a long run of backslashes costs no more than any other text.
    escaped = rf"\\{{1,16}}(?i:u00{code:02x}|x{code:02x})|%(?:25){{0,4}}(?i:{code:02x})|&(?:amp;){{0,4}}(?:{names});"
    return f"(?:{itself}|{escaped})"


def _base64(data: bytes, before: int) -> str:
    """A pattern for the base64 of `data` behind `before` bytes (modulo 3) of something else.

    Letters at the edges that hold bits of the neighbours as well are any letter.
    """
    whole = b64encode(bytes(before) + data).decode()
    first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
    letters = "".join(
        f"(?:{_character(letter)}|{_character(letter.translate(_URL_SAFE))})" if letter in "+/" else letter
        for letter in whole[first:last]
    )
    return (_BASE64 if before else "") + letters + (f"{_BASE64}?" if (before + len(data)) * 8 % 6 else "")
