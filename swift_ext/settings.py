"""Settings that reach a plugin through the environment, because `swift rlhf` refuses flags it does not know."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from datasets_builders.choices import did_you_mean
from datasets_builders.secret_settings import shown
from datasets_builders.yaml_file import read_yaml

SettingsType = TypeVar("SettingsType", bound=BaseSettings)


def refuse_leftovers(prefix: str) -> None:
    """Refuses variables of the shell that contradict, or add to, the `ENV:` map of the run file that ms-swift was given.

    ms-swift lets the shell win and warns, so that what an earlier experiment exported would change this one.

    Raises:
        ValueError: the variables, both values, and how to override a run file on purpose.
    """
    run_file = os.environ.get("SWIFT_CONFIG_FILE", "")  # set by `swift` itself
    if not run_file.endswith((".yaml", ".yml")) or not Path(run_file).is_file():
        return
    settings = read_yaml(run_file) or {}
    if not isinstance(settings, dict) or not isinstance(settings.get("ENV") or {}, dict):
        raise ValueError(f"{run_file}: a run file, and ENV in it, is a mapping of names to values")
    planned = {name: str(value) for name, value in (settings.get("ENV") or {}).items()}
    meant = sys.argv[sys.argv.index("--model_kwargs") + 1].upper() if "--model_kwargs" in sys.argv[:-1] else ""
    for name, value in os.environ.items():
        if name.startswith(prefix) and planned.get(name) != value and name not in meant:
            value = shown(name, value)
            found = (
                f"but {run_file} says {shown(name, planned[name])}" if name in planned else f"but is not in {run_file}"
            )
            raise ValueError(
                f"{name} is {value!r} in the shell {found}: unset it, or override the run file with "
                f'--model_kwargs \'{{"{name.lower()}": "{value}"}}\''
            )


def read_settings(settings_class: type[SettingsType], environ: Mapping[str, str] | None = None) -> SettingsType:
    """The settings of one method from the environment, every name known and every value valid.

    Raises:
        ValueError: an unknown name with the method's prefix (the nearest known one is offered), a bad value (the
            variable and what was found are named), or a value that contradicts the run file.
    """
    prefix = settings_class.model_config["env_prefix"]
    if environ is None:
        environ = os.environ
        refuse_leftovers(prefix)
    known = [
        str(field.validation_alias or f"{prefix}{name.upper()}") for name, field in settings_class.model_fields.items()
    ]
    for name in environ:
        if name.upper().startswith(prefix) and name.upper() not in known:
            raise ValueError(f"unknown setting {name}{did_you_mean(name.upper(), known)}; known are {known}")
    try:
        return settings_class()
    except ValidationError as error:
        lines = []
        for issue in error.errors():
            variable = prefix + str(issue["loc"][0]).upper().removeprefix(prefix) if issue["loc"] else prefix + "*"
            where = "".join(f"[{part}]" for part in issue["loc"][1:])
            found = "" if issue["type"] in ("missing", "value_error") else f", found {issue['input']!r}"
            lines.append(f"{variable}{where}: {issue['msg'].removeprefix('Value error, ')}{found}")
        raise ValueError("; ".join(lines)) from error
    except Exception as error:  # pydantic-settings wraps broken JSON in an error of its own
        if type(error).__name__ != "SettingsError":
            raise
        raise ValueError(f"{prefix}*: {error} ({error.__cause__})") from error
