"""What a run was started with, kept beside each checkpoint and compared when it is continued."""

import json
from pathlib import Path

from datasets_builders.io import write_json

SETTINGS_FILE = "modpo_settings.json"


def save_settings(folder: Path, settings: dict) -> None:
    """Writes the file whole or not at all."""
    write_json(folder / SETTINGS_FILE, settings)


def refuse_other_settings(folder: Path, settings: dict) -> None:
    """Compares with what `folder` was saved with; a folder without the file says nothing.

    Raises:
        ValueError: a setting differs.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return
    # A checkpoint from before `start` was kept says nothing of it.
    saved = {"start": settings.get("start")} | json.loads(path.read_text(encoding="utf-8"))
    for name, value in json.loads(json.dumps(settings)).items():
        if saved.get(name) != value:
            raise ValueError(f"{path}: the run had {name} = {saved.get(name)}, this one has {value}")
