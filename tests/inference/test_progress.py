"""How long threads have been at what they do."""

import threading

from mlcommons_py.inference.progress import Progress


def test_longest() -> None:
    """It is the time since the first piece of work that is not done was begun, on any thread; none when all wait."""
    now = 0.0
    progress = Progress(lambda: now)
    begun, end = threading.Event(), threading.Event()

    def other() -> None:
        with progress.piece():
            begun.set()
            end.wait(20)

    thread = threading.Thread(target=other)
    assert progress.longest() == 0
    thread.start()
    assert begun.wait(20)
    now = 5.0
    with progress.piece():
        now = 7.0
        assert progress.longest() == 7
        end.set()
        thread.join()
        assert progress.longest() == 2
    assert progress.longest() == 0
