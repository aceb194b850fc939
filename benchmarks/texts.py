"""The texts that every benchmark embeds: one word is one token, so that lengths are what they are said to be."""

import random

WORDS = """
time year people way day man thing woman life child world school state family student group country problem
hand part place case week company system program question work government number night point home water room
mother area money story fact month lot right study book eye job word business issue side kind head house
service friend father power hour game line end member law car city community name president team minute idea
body information back parent face others level office door health person art war history party result change
morning reason research girl guy moment air teacher force education foot boy age policy music market sense
nation plan college interest experience
""".split()

LENGTHS = {"short": (8, 12), "passages": (120, 136), "mixed": (5, 256)}
"""Tokens of a text, the two special ones included, from and to."""


def workload(name: str, count: int = 256, seed: int = 7) -> list[str]:
    """Return the texts of a workload, the same every time."""
    chance = random.Random(f"{name}-{seed}")
    low, high = LENGTHS[name]
    return [" ".join(chance.choice(WORDS) for _ in range(chance.randint(low, high) - 2)) for _ in range(count)]
