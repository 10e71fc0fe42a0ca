"""The words of the one setting, without torch."""

from typing import Any, Literal, get_args

Setting = Literal["auto", "on", "off"]
SETTINGS = get_args(Setting)


def as_written(value: Any) -> Any:
    """The word that was meant: `on` and `off` without quotes are truth values in YAML, and `True` in an environment."""
    return {"true": "on", "false": "off"}.get(str(value).lower(), value)
