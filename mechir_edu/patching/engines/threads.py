"""Work on several batches at once, each in a thread of its own on its share of the cores.

PyTorch spreads each product over the cores. The products of patching are small, so the cores spend
most of the gain waiting for one another; whole batches side by side hardly wait
(`benchmarks/cores.py` measures both).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    work: Callable[[Item], Result], items: Iterable[Item], n_threads: int
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` of each item, in their order.

    Parameters
    ----------
    work : what is done in a thread; gradients are on or off in it as they are here.
    items : drawn in the calling thread, ahead of what is yielded by two for each thread.
    n_threads : how many items are worked on at once, each on an even share of the cores; 1 works
        without threads.

    Examples
    --------
    >>> list(side_by_side(abs, [-1, 2, -3], n_threads=2))
    [1, 2, 3]
    """
    if n_threads == 1:
        yield from map(work, items)
        return
    has_grad = torch.is_grad_enabled()

    def run(item: Item) -> Result:
        with torch.set_grad_enabled(has_grad):
            return work(item)

    with _share_of_cores(n_threads), ThreadPoolExecutor(n_threads) as pool:
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(pool.submit(run, item))
                if len(waiting) > 2 * n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _share_of_cores(n_threads: int) -> Iterator[None]:
    # Threads that start now take over how many cores a product may use.
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // n_threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
