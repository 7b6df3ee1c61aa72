"""Memory that was freed, given back to the system."""

import ctypes
import gc
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

MMAP_THRESHOLD = -3  # what glibc's malloc.h calls M_MMAP_THRESHOLD
LARGE_BYTES = 2**20
USUAL_BYTES = 2**25  # glibc raises the threshold by itself, up to this


def give_back_memory() -> None:
    """Free what only cycles keep alive, and return it to the system.

    glibc keeps what was freed inside its heap: after a few steps the process held 6 GB of which 4
    were in use. Other C libraries have no such call, and need none.
    """
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Inside, glibc takes blocks of over 1 MB from the system, each by itself, and gives them back.

    Else freed blocks of up to 32 MB stay in its heap, between others that are in use: where weights
    are gathered and let go a thousand times, the heap grew to more than all of them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        yield
        return
    mallopt(MMAP_THRESHOLD, LARGE_BYTES)
    try:
        yield
    finally:
        mallopt(MMAP_THRESHOLD, USUAL_BYTES)


def let_go(error: BaseException | None) -> None:
    """Empty the frames that an error and its causes hold: a model may be in them."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
