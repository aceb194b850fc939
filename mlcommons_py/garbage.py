"""How Python looks for garbage that refers to itself."""

import gc

_ALLOCATED = 100_000
"""Objects more than before that are worth a look: 256 calls under way have some 50,000, and leave none behind."""


def settle() -> None:
    """Leave what is there now out of all later looks: modules, classes, tables, what stays until the process ends.

    There are more than 100,000 such objects, and a look at all of them stops every request for a tenth of a second.
    What is garbage already is taken out before.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATED, *gc.get_threshold()[1:])
