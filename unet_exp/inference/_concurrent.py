"""Reading ahead and writing behind, in one thread each."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(function: Callable[[T], R], items: Iterable[T], *, depth: int) -> Generator[tuple[T, R], None, None]:
    """Items with the function's results in their order, computed up to `depth` items ahead in a thread.

    An exception of the function is raised where its result would have come. When the iteration ends early, the
    call that is running is the last one.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="reader")
    pending: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            pending.append((item, pool.submit(function, item)))
            if len(pending) > depth:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def run_behind(*, depth: int) -> Iterator[Callable[..., None]]:
    """A function that runs calls in their order in a thread; it waits while `depth` of them are unfinished.

    An exception of a call is raised at a later call or at the end. All calls are finished at the end, except after
    an exception, when those not begun are dropped.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="writer")
    pending: deque[Future[Any]] = deque()

    def submit(function: Callable[..., Any], *arguments: Any) -> None:
        while pending and (len(pending) >= depth or pending[0].done()):
            pending.popleft().result()
        pending.append(pool.submit(function, *arguments))

    try:
        yield submit
        while pending:
            pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
