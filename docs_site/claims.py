"""The page of all claims, out of the stored results."""

from pathlib import Path

from datasets_builders.io import read_object
from docs_site.text import block, plain
from launch.reproduce.claims import NAMES
from launch.reproduce.gpu import NAMES as ON_GPU
from launch.reproduce.reproduce import claim_of, stored_name
from launch.reproduce.result import part_of_page

INTRODUCTION = """# Claims

What each method is said to be worth, put to the test: the question, the verdict with its interval, under which condition, and what
would change our mind. `python -m launch reproduce` runs every one of them again.
"""


def page(root: Path) -> str:
    """Every claim; where there is no result yet, what gives one."""
    parts = [INTRODUCTION]
    for scale, names in (("cpu", NAMES), ("gpu", ON_GPU)):
        for asked in names:
            name = stored_name(asked, scale)
            file = root / "docs" / "results" / "claims" / f"{name}.json"
            parts.append(f"## {name}\n")
            parts.append(
                part_of_page(read_object(file), f"results/claims/{name}.png")
                if file.is_file()
                else missing(asked, scale)
            )
    return "\n".join(parts)


def missing(name: str, scale: str) -> str:
    """The question of a claim without a stored result, and its command."""
    claim = claim_of(name, scale)
    words = f"python -m launch reproduce {name}" + (" --scale gpu" if scale == "gpu" else "") + " --out runs/claim"
    return (
        f"**Question.** {plain(claim.question)}\n\nNo result is stored yet; this gives one:\n\n{block(words, 'bash')}"
    )
