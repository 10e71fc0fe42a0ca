"""Pages of the public names, by package, for mkdocstrings: what a package promises is what it says in `__all__`.

The names are found without loading what they name: every package tells in a table where its names are defined.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import resolve_name

TITLES = {
    "trl_ext": "Trainers for TRL",
    "swift_ext.modpo": "MODPO for ms-swift",
    "swift_ext.bt_grpo": "Generative reward model for ms-swift",
    "swift_ext.pairwise_judge": "Pairwise judge for ms-swift",
    "swift_ext.shared_prefix": "Shared prefixes for ms-swift",
    "trl_ext.objectives": "Mathematics",
    "trl_ext.d2po.gold": "Gold functions",
    "datasets_builders": "Data",
}
# A package that is no table of names.
HOMES = {"trl_ext.d2po.gold": {"GoldFunction": ".base", "get_gold": ".registry"}}


def homes(package: str) -> dict[str, str]:
    """Public name -> the module that defines it."""
    found = import_module(package) if package not in HOMES else None
    table = HOMES.get(package) or getattr(found, "_HOME", None) or found._HOME_OF
    return {name: resolve_name(home, package) for name, home in table.items()}


def pages() -> Iterator[tuple[str, str]]:
    """(address, Markdown) of every package."""
    for package, title in TITLES.items():
        parts = [f"# {title}\n", f"Import these names from `{package}`; each is loaded when it is first used.\n"]
        parts += [f"::: {home}.{name}\n" for name, home in homes(package).items()]
        yield f"reference/{package.replace('.', '_')}.md", "\n".join(parts)
