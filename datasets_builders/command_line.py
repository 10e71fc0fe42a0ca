"""The parser of every command line of the pack."""

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from datasets_builders.choices import nearest

# One name each; for one release the old one works where the new one is an option, and says so.
OLD_NAMES = {
    "--n_samples": "--num_samples",
    "--votes": "--num_samples",
    "--dtype": "--torch_dtype",
    "--precision": "--torch_dtype",
    "--eval_size": "--limit",
    "--n_pairs": "--limit",
    "--max_pairs": "--limit",
    "--max_prompts": "--limit",
    "--max_examples": "--limit",
    "--max_samples": "--limit",
    "--n_items": "--limit",
    "--batch_pairs": "--batch_size",
    "--max_tokens": "--max_new_tokens",
    "--rank": "--shard_id",
    "--world_size": "--num_shards",
}
# What a value of these types must look like; without it argparse says "invalid int value", and takes nan for a number.
_WANTED = {int: "a whole number", float: "a finite number", Path: "a path"}


def with_new_names(args: Sequence[str], names: Mapping[str, str], program: str, said: set[str]) -> list[str]:
    """The arguments with today's names of flags. Each old one is said once on standard error and added to ``said``."""
    given = list(args)
    for place, text in enumerate(given):
        name, sign, value = text.partition("=")
        if name in names:
            given[place] = f"{names[name]}{sign}{value}"
            if name not in said:
                print(
                    f"{program}: {name} is now {names[name]}; the old name ends with the next release", file=sys.stderr
                )
            said.add(name)
    return given


class _Help(argparse.RawDescriptionHelpFormatter):
    """Paragraphs are filled, an indented one (the example) is left as it is, and every default is said."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = [part.strip("\n") for part in text.split("\n\n")]
        fill = argparse.HelpFormatter._fill_text
        return "\n\n".join(part if part[:1] == " " else fill(self, part, width, indent) for part in paragraphs)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        nothing = (
            action.default is None or isinstance(action.default, bool) or action.default in ("", argparse.SUPPRESS)
        )
        if nothing or action.default in ([], {}, ()) or not action.option_strings or "default" in text:
            return text
        return f"{text} (default %(default)s)"


class Parser(argparse.ArgumentParser):
    """No abbreviations; what is misspelt gets its nearest name; every mistake is one line and exit code 2.

    Args:
        example: a command that works once its names are replaced by yours; the end of `--help`.
    """

    def __init__(self, *arguments: Any, example: str | None = None, **keywords: Any) -> None:
        self.example = example
        self.old_names = dict(OLD_NAMES)
        self._said: set[str] = set()
        defaults = {"allow_abbrev": False, "formatter_class": _Help}
        if example is not None:
            defaults["epilog"] = f"example:\n\n  {example}"
        super().__init__(*arguments, **{**defaults, **keywords})
        for kind, wanted in _WANTED.items():
            self.register("type", kind, _reader(kind, wanted))

    def rename(self, old: str, new: str) -> None:
        """For one release `old` means `new`, and says so on standard error; `--help` no longer shows it."""
        self.old_names[old] = new

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        given = self._with_new_names(args)
        for text in given:
            if text == "--":
                break
            # Not the value: somebody may have tried to hand in a key.
            option = text.split("=")[0]
            if re.match(r"-[^\d.]", text) and " " not in text and option not in self._option_string_actions:
                # Before argparse asks for what is required: it may be the very flag that was misspelt.
                self.error(f"unknown option {option!r}; {nearest(option, self._long_options())}")
        return super().parse_args(given, namespace)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        return super().parse_known_args(self._with_new_names(args), namespace)

    def error(self, message: str) -> NoReturn:
        # The usage text of argparse is longer than the message and would hide it.
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        sys.exit(2)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            text = f"unknown value {value!r}; {nearest(str(value), map(str, action.choices))}"
            raise argparse.ArgumentError(action, text)

    def _with_new_names(self, args: Sequence[str] | None) -> list[str]:
        options = self._option_string_actions
        names = {old: new for old, new in self.old_names.items() if new in options and old not in options}
        return with_new_names(sys.argv[1:] if args is None else args, names, self.prog, self._said)

    def _long_options(self) -> list[str]:
        return sorted(option for option in self._option_string_actions if option.startswith("--"))


def _reader(kind: type, wanted: str) -> Any:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or text == "" or (kind is float and not math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return read
