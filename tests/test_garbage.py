"""Looking for garbage."""

import subprocess
import sys

SCRIPT = """
import gc
from mlcommons_py import garbage

class Ring:
    def __init__(self): self.ring = self
    def __del__(self): print("gone")

early = Ring()
garbage.settle()
assert not any(one is early for one in gc.get_objects())
Ring()
for _ in range(3):
    gc.collect(0)
print(gc.get_threshold()[0])
"""


def test_what_is_there_is_looked_at_no_more() -> None:
    """What is there when a process settles is left out of all looks, and later garbage is still found."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)

    assert done.stdout.split()[:2] == ["gone", "100000"]
