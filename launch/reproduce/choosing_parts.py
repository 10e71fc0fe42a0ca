"""What `docs/choosing.md` says of stored claims: which arms stand beside which, and a sentence for every way it may have ended.

`{difference}` is the better arm minus the other with its interval, or where they are not told apart the first minus the second;
`{cost}` the CPU seconds of the first over those of the second.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """What two arms of a claim say to a reader: the first is ahead of the second, behind it, or not told apart from it."""

    first: str
    second: str
    ahead: str
    alike: str
    behind: str


@dataclass(frozen=True)
class Part:
    """A claim as the page shows it.

    Attributes:
        against: the arm that the others are compared with.
        left_out: how the names of arms of another design begin.
    """

    claim: str
    against: str
    sentences: tuple[Sentence, ...] = ()
    left_out: tuple[str, ...] = ()


_NOT_A_SOUP = (
    "MODPO is worth its runs where the second objective is no adapter but a rule or a reward model, which a soup cannot mix in, and "
    "where two adapters are so far from the base that their mixture breaks."
)
_NOT_REWARDS = (
    "MODPO remains for preferences that exist as pairs alone, and for models whose answers and reward models are dear, of which these "
    "small runs say nothing."
)
_NOT_OFFLINE = (
    "D2PO remains for policies that move so far from the labelled answers that the labels say little of new ones, and for labels that cost more than "
    "drawing and scoring answers."
)
PARTS = {
    "policies": Part(
        "modpo-front",
        "modpo",
        (
            Sentence(
                "soup",
                "modpo",
                ahead="**A soup was worth more than MODPO**, {difference}, for {cost} of its CPU seconds. Begin with a soup: it takes "
                "one DPO run for each objective and nothing for a further weight. " + _NOT_A_SOUP,
                alike="**A soup was not told apart from MODPO**, {difference}, for {cost} of its CPU seconds. Begin with a soup: it takes one "
                "DPO run for each objective and nothing for a further weight. " + _NOT_A_SOUP,
                behind="**MODPO was worth more than a soup**, {difference}; the other took {cost} of its CPU seconds. A soup stays the "
                "cheap first look, as a further weight costs it nothing. " + _NOT_A_SOUP,
            ),
            Sentence(
                "morl",
                "modpo",
                ahead="**Reinforcement learning on the weighted rewards was worth more than MODPO**, {difference}, for {cost} of its CPU "
                "seconds. It was told the exact rewards of its own answers, for nothing: where you can do the same, use stock GRPO with "
                "`--reward_weights`. " + _NOT_REWARDS,
                alike="**Reinforcement learning on the weighted rewards was not told apart from MODPO**, {difference}, for {cost} of its CPU "
                "seconds. It was told the exact rewards of its own answers, for nothing. " + _NOT_REWARDS,
                behind="**MODPO was worth more than reinforcement learning on the weighted rewards**, {difference}; the other took "
                "{cost} of its CPU seconds, although it was told the exact rewards of its own answers.",
            ),
        ),
    ),
    "steering": Part(
        "moodpo-steering",
        "steered",
        (
            Sentence(
                "fixed",
                "steered",
                ahead="**Policies for one weight each answered their weights better than the steered one**, {difference}, for {cost} of "
                "its CPU seconds. The steered policy is for weights that are not known before, or that every user sets anew.",
                alike="**One steered policy was not told apart from policies for one weight each**, {difference}; they took {cost} "
                "of its CPU seconds, and a further weight costs it nothing.",
                behind="**One steered policy answered the weights better than policies for one weight each**, {difference}; the "
                "others took {cost} of its CPU seconds.",
            ),
            Sentence(
                "soup",
                "steered",
                ahead="**A soup of the two ends answered the weights better than the steered policy**, {difference}, for {cost} of its "
                "CPU seconds. A soup has to be kept as one model for each weight; the steered policy is one model.",
                alike="**A soup of the two ends was not told apart from the steered policy**, {difference}, for {cost} of its CPU "
                "seconds. A soup has to be kept as one model for each weight; the steered policy is one model.",
                behind="**The steered policy answered the weights better than a soup of the two ends**, {difference}; the other took "
                "{cost} of its CPU seconds.",
            ),
        ),
    ),
    "labels": Part(
        "d2po-labels",
        "confidence",
        (
            Sentence(
                "offline_dpo",
                "confidence",
                ahead="**Offline DPO on the same labels was worth more than D2PO**, {difference}, for {cost} of its CPU seconds: try it on "
                "your labels first. " + _NOT_OFFLINE,
                alike="**Offline DPO on the same labels was not told apart from D2PO**, {difference}, for {cost} of its CPU seconds: try it on "
                "your labels first. " + _NOT_OFFLINE,
                behind="**D2PO was worth more than offline DPO on the same labels**, {difference}; the other took {cost} of its CPU "
                "seconds.",
            ),
            Sentence(
                "fixed_all",
                "confidence",
                ahead="**A reward model that stays as it is was worth more than D2PO's discriminator**, {difference}.",
                alike="**A reward model that stays as it is, taught by the same labels, was not told apart from D2PO's discriminator**, "
                "{difference}.",
                behind="**D2PO's discriminator was worth more than a reward model that stays as it is**, {difference}.",
            ),
            Sentence(
                "random",
                "confidence",
                ahead="**Random labels were worth more than the least certain ones**, {difference}: add `--selection random`.",
                alike="**Which pairs are labelled was not told apart**: random minus least certain, {difference}.",
                behind="**The least certain labels, which are the default, were worth more than random ones**, {difference}.",
            ),
        ),
        left_out=("near_", "sea_"),
    ),
    "judge": Part("judge-consistency", "warmup"),
    "reward model": Part("bt-judgement", ""),
}
