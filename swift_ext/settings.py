"""Settings that reach a plugin through the environment, because `swift rlhf` refuses flags it does not know."""

import os
from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from trl_ext.modpo.margins import nearest_name_hint

SettingsType = TypeVar("SettingsType", bound=BaseSettings)


def read_settings(settings_class: type[SettingsType], environ: Mapping[str, str] | None = None) -> SettingsType:
    """The settings of one method from the environment, every name known and every value valid.

    Raises:
        ValueError: an unknown name with the method's prefix (the nearest known one is offered), or a bad value (the
            variable and what was found are named).
    """
    environ = os.environ if environ is None else environ
    prefix = settings_class.model_config["env_prefix"]
    known = [f"{prefix}{field.upper()}" for field in settings_class.model_fields]
    for name in environ:
        if name.upper().startswith(prefix) and name.upper() not in known:
            raise ValueError(f"unknown setting {name}{nearest_name_hint(name.upper(), known)}; known are {known}")
    try:
        return settings_class()
    except ValidationError as error:
        lines = []
        for issue in error.errors():
            variable = prefix + str(issue["loc"][0]).upper() if issue["loc"] else prefix + "*"
            where = "".join(f"[{part}]" for part in issue["loc"][1:])
            found = "" if issue["type"] in ("missing", "value_error") else f", found {issue['input']!r}"
            lines.append(f"{variable}{where}: {issue['msg'].removeprefix('Value error, ')}{found}")
        raise ValueError("; ".join(lines)) from error
    except Exception as error:  # pydantic-settings wraps broken JSON in an error of its own
        if type(error).__name__ != "SettingsError":
            raise
        raise ValueError(f"{prefix}*: {error} ({error.__cause__})") from error
