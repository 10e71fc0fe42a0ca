"""The words of the one setting, without torch."""

from typing import Any, Literal, get_args

from datasets_builders.choices import check_choice

Setting = Literal["auto", "on", "off"]
SETTINGS = get_args(Setting)
HELP = "Rows that begin alike compute it once: auto where that is exact and pays, on, or off."


def as_written(value: Any) -> Any:
    """The word that was meant: `on` and `off` without quotes are truth values in YAML, and `True` in an environment."""
    return {"true": "on", "false": "off"}.get(str(value).lower(), value)


def read_setting(name: str, value: Any) -> Setting:
    """`value` of the setting `name` as one of SETTINGS.

    Raises:
        ValueError: another word; the nearest one is told.
    """
    word = as_written(value)
    check_choice(name, word, SETTINGS)
    return word
