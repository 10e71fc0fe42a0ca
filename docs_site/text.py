"""Plain text inside Markdown."""

import re


def plain(text: str) -> str:
    """Shown as it is: signs of Markdown and of HTML mean nothing outside backquotes, and a bar ends no cell."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    shown = [part if part.startswith("`") else re.sub(r"([*_\\\[\]<>])", r"\\\1", part) for part in parts]
    return "".join(shown).replace("|", "\\|")


def code(text: str) -> str:
    """As code inside a line or a cell."""
    return f"`{text}`".replace("|", "\\|")


def block(text: str, language: str = "") -> str:
    """As a block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def folded(title: str, text: str, language: str = "") -> str:
    """A block of code behind its title, which opens it."""
    inside = "\n".join(f"    {line}".rstrip() for line in block(text, language).splitlines())
    return f'??? note "{title}"\n\n{inside}\n'
