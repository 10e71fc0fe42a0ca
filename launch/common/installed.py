"""Where the pack's own files lie: in a checkout, or wherever pip has put them."""

from pathlib import Path

PACK = Path(__file__).parents[2]


def page(name: str) -> Path:
    """The file of a page of the documentation: `docs` of a checkout; setup.py puts its pages into a wheel as `launch/pages`."""
    packed = PACK / "launch" / "pages" / f"{name}.md"
    return packed if packed.is_file() else PACK / "docs" / f"{name}.md"
