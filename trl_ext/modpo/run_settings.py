"""What a run was started with, kept beside each checkpoint and compared when it is continued."""

import json
import os
from pathlib import Path

SETTINGS_FILE = "modpo_settings.json"


def save_settings(folder: Path, settings: dict) -> None:
    """Writes the file whole or not at all."""
    beside = folder / f".{SETTINGS_FILE}.{os.getpid()}"
    with beside.open("w", encoding="utf-8") as file:
        json.dump(settings, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, folder / SETTINGS_FILE)


def refuse_other_settings(folder: Path, settings: dict) -> None:
    """Compares with what `folder` was saved with; a folder without the file says nothing.

    Raises:
        ValueError: a setting differs.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return
    saved = json.loads(path.read_text(encoding="utf-8"))
    for name, value in json.loads(json.dumps(settings)).items():
        if saved.get(name) != value:
            raise ValueError(f"{path}: the run had {name} = {saved.get(name)}, this one has {value}")
