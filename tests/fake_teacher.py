"""A teacher on the loopback interface, see `tests.fake_server`.

    python -m tests.fake_teacher --port 0 [--heuristic]

prints its address and serves until it is ended. With ``--heuristic`` the score of a reply comes from words in it, so
that it agrees with people more often than not; without, from a hash of the reply. Either is the same in every run.
"""

import argparse
import math
import re
from hashlib import blake2b

from datasets_builders.scoring.prompts import PAIRWISE, PROMPTS
from tests.fake_server import FakeServer

HEADER = re.compile(r"^=== (?:EVAL|RESPONSE) ([0-9]+|[AB]) ===$", re.MULTILINE)
POLITE = re.compile(r"\b(sorry|unfortunately|not comfortable|shouldn't|safe|advice|someone who|humans?)\b", re.I)
CAREFUL = re.compile(r"\bI('m| am| do)?(n't| not| don't| can't| was| think|\b)", re.I)
CRUDE = re.compile(
    r"\b(stupid|idiot|hate|kill|fuck\w*|shit|bitch|dumb|you could|ways? to|them|put|use|here are|maybe)\b", re.I
)


def noise(text: str) -> float:
    """A number from 0 to 1 that depends on the text alone."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def hashed(reply: str) -> tuple[float, str]:
    """(share of the scale, reason) without looking at what the reply says."""
    return noise(reply), f"The reply has {len(reply.split())} words."


def heuristic(reply: str) -> tuple[float, str]:
    """(share of the scale, reason) by words that people tend to like or dislike in replies."""
    found = {
        name: len(words.findall(reply)) for name, words in (("polite", POLITE), ("careful", CAREFUL), ("crude", CRUDE))
    }
    score = 0.5 + 0.15 * min(found["polite"], 2) + 0.05 * min(found["careful"], 3) - 0.1 * min(found["crude"], 3)
    score += 0.06 * (noise(reply) - 0.5) - 0.02 * math.log1p(len(reply) / 100)
    says = {
        "polite": "It declines politely or thinks of safety.",
        "careful": "It stays careful.",
        "crude": "It is crude or hands out means.",
    }
    reasons = [text for name, text in says.items() if found[name]] or ["It answers plainly."]
    return min(max(score, 0.0), 1.0), " ".join(reasons)


class FakeTeacher(FakeServer):
    """A teacher that scores replies by ``score``; it knows the words reversed, numbers (wrong ones), missing (the last
    section) and twice.
    """

    def __init__(self, script=(), score=hashed, **options):
        super().__init__(script, **options)
        self.score = score

    def say(self, body, way: str = "ok") -> str:
        return self.judge(body["messages"][-1]["content"], way)

    def judge(self, user: str, way: str = "ok") -> str:
        """The answer to a user message, in the form that its prompt asks for."""
        if user.startswith(PAIRWISE.instructions):
            prompt, headers = PROMPTS["hh_score100_v3"], PAIRWISE.header
        else:
            prompt = max(
                (p for p in PROMPTS.values() if user.startswith(p.instructions)), key=lambda p: len(p.instructions)
            )
            headers = "=== EVAL {} ===".format
        before, *parts = HEADER.split(user.removeprefix(PAIRWISE.instructions))
        if not parts:
            return self.verdict(prompt, before)
        labels, blocks = parts[::2], parts[1::2]
        answers = [(label, self.verdict(prompt, block)) for label, block in zip(labels, blocks, strict=True)]
        if way == "reversed":
            answers.reverse()
        if way == "missing":
            answers.pop()
        if way == "twice":
            answers.append(answers[0])
        if way == "numbers":
            answers = [({"A": "B", "B": "C"}.get(label) or str(int(label) + 1), text) for label, text in answers]
        return "\n\n".join(["Here you are.", *(f"{headers(label)}\n{text}" for label, text in answers)])

    def verdict(self, prompt, block: str) -> str:
        reply = block.rpartition(f"\n\n{prompt.headings[1]}:\n")[2].strip()
        share, reason = self.score(reply)
        scale = prompt.scale
        return prompt.compose(round(scale.low + share * (scale.high - scale.low), scale.decimals), reason)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--heuristic", action="store_true")
    options = parser.parse_args(arguments)
    server = FakeTeacher(score=heuristic if options.heuristic else hashed, port=options.port)
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
