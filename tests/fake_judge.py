"""Judges on the loopback interface, of pairs and of single replies, see `tests.fake_server`."""

import re

from tests.fake_server import FakeServer

REPLIES = re.compile(r"<response_a>\n(.*?)\n</response_a>\n\n<response_b>\n(.*?)\n</response_b>", re.DOTALL)


def by_quality(first, second, sample=0):
    """The verdict for the reply that names the higher quality; nothing to say about one that names none."""
    named = [re.search(r"quality (\d+)", reply) for reply in (first, second)]
    if None in named:
        return "I would rather not say."
    one, other = (int(match[1]) for match in named)
    return f"Because.\n<preference>{'A' if one > other else 'B' if other > one else 'tie'}</preference>"


def sample_of(body) -> int:
    """Which sample of its prompt a request asks for, which its seed alone can tell; 0 for one without a seed."""
    from launch.answers.records import prompt_id
    from launch.answers.sampling import draw_seed

    key = prompt_id(body["messages"])
    seeds = {draw_seed(seed, key, sample) % 2**31: sample for seed in range(10) for sample in range(5)}
    return seeds.get(body.get("seed"), 0)


class FakeJudge(FakeServer):
    """A pairwise judge: says ``rule(first reply, second reply, sample)``."""

    def __init__(self, rule=by_quality, **options):
        super().__init__(**options)
        self.rule = rule

    def say(self, body, way="ok"):
        return self.rule(*REPLIES.findall(body["messages"][-1]["content"])[-1], sample_of(body))


class FakeScorer(FakeServer):
    """Says the quality that the judged reply names, as a score; the second sample of a prompt is 4 higher.

    A quality of 0 gets an answer without a score, one that is in `silent` an answer without text.
    """

    silent = ()

    def say(self, body, way="ok"):
        quality = int(re.findall(r"reply of quality (\d+)", body["messages"][-1]["content"])[-1])
        if quality in self.silent:
            return None
        score = min(100, quality + 4 * (sample_of(body) == 1))
        return f"<s>{score}</s>\nBecause." if quality else "I would rather not say."
