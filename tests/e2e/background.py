"""Traffic that goes on while something else is looked at."""

import contextlib
import itertools
import threading


@contextlib.contextmanager
def repeated(count, request):
    """Calls request(thread, i) for i = 0, 1, ... on `count` threads until the block ends.

    What a call raises ends its thread, and is raised when the block has ended.
    """
    over = threading.Event()
    failed = []

    def work(thread):
        try:
            for i in itertools.count():
                if over.is_set():
                    return
                request(thread, i)
        except Exception as error:  # pylint: disable=broad-except
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]
