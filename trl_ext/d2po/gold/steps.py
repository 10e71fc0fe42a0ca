"""Gold function `math`: how near the steps of an answer are to those that solve the expression of its question."""

import re
from itertools import zip_longest

from .arithmetic import evaluate
from .base import BatchScore, Metadata, by_row
from .distance import levenshtein

NO_EXPRESSION = -200.0
_RUN = re.compile(r"[0-9()+*\-\s]+")
_INNERMOST = re.compile(r"\([^()]*\)")
_IGNORED = re.compile(r"[^0-9()+*\-=]")
_SIGN_SPACES = re.compile(r" ?([()+*\-]) ?")


def find_expression(question: str) -> str:
    """The expression of a question, without blanks: the longest readable run of digits, signs and brackets.

    It ends before the first `=`. Blanks between digits do not join them.

    Raises:
        ValueError: there is none.
    """
    found = []
    for run in _RUN.findall(question.partition("=")[0]):
        candidate = _SIGN_SPACES.sub(r"\1", " ".join(run.split()))
        try:
            evaluate(candidate)
        except ValueError:
            continue
        found.append(candidate)
    if not found:
        raise ValueError(f"no expression of numbers, brackets, +, - and * in {question[:80]!r}")
    # A number or a dash of the sentence around it is shorter than the expression.
    return max(found, key=len)


def solve(expression: str) -> list[str]:
    """The expression and every step after it: innermost brackets one at a time from the left, then the rest at once.

    (3+4)*2 -> ["(3+4)*2", "7*2", "14"]. A step that would repeat the last one is left out: (2-5) -> ["(2-5)", "-3"].

    Raises:
        ValueError: see `evaluate`.
    """
    evaluate(expression)
    steps = [expression]
    while bracket := _INNERMOST.search(steps[-1]):
        inside = evaluate(bracket[0][1:-1])
        steps.append(f"{steps[-1][: bracket.start()]}{inside}{steps[-1][bracket.end() :]}")
    value = str(evaluate(steps[-1]))
    return steps if steps[-1] == value else [*steps, value]


def score_steps(expression: str, response: str) -> float:
    """Minus the sum of the edit distances between the answer's steps and the right ones. At most 0. Unit: characters.

    Steps stand between `=` signs; only digits, brackets and + - * count in them. The answer may begin with the
    expression, with `=` or with the first step. A missing step costs its length, a step too many its own, at least 1:
    with neither an empty nor an endless answer is perfect. An expression that is a number has itself as its one step.
    """
    right = solve(expression)
    right = right[1:] or right
    given = _IGNORED.sub("", response).removeprefix("=").split("=")
    if given[0] == expression and right[0] != expression:
        given = given[1:]
    cost = 0
    for place, (step, wanted) in enumerate(zip_longest(given, right, fillvalue="")):
        cost += levenshtein(step, wanted) if place < len(right) else max(len(step), 1)
    return -float(cost)


def math_steps() -> BatchScore:
    """See `score_steps`; -200 for every response to a question without an expression. No text is ever run as code."""

    def score(prompt: str, response: str, row: Metadata) -> float:
        try:
            expression = find_expression(prompt)
        except ValueError:
            return NO_EXPRESSION
        return score_steps(expression, response)

    return by_row(score)
