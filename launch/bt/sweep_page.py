"""The page of `sweep-bt`: its picture and its table."""

from collections.abc import Sequence

from launch.common.page import document, heading, joined, paragraph, picture, table


def render_page(title: str, cells: Sequence[Sequence[str]], failed: Sequence[str], pictures: Sequence[bytes]) -> str:
    """The whole page.

    Args:
        cells: of `summary.to_cells`, the head first.
        failed: names of the evaluations without a result.
        pictures: PNG of the curves without a title, for a wide and for a narrow window; empty without matplotlib.
    """
    body = [
        *(
            [picture("Accuracy, share of pairs with both scores, and loss against training steps", *pictures)]
            if pictures
            else []
        ),
        heading("Checkpoints"),
        table(cells[0], cells[1:]),
        *([paragraph(f"Failed, so not in the means: {', '.join(failed)}.")] if failed else []),
    ]
    return document(title, "Means over seeds ± standard deviation between them.", joined(body))
