"""Memory that was freed, given back to the system."""

import ctypes
import gc
import sys
import traceback


def give_back_memory() -> None:
    """Free what only cycles keep alive, and return it to the system.

    glibc keeps what was freed inside its heap: after a few steps the process held 6 GB of which 4
    were in use. Other C libraries have no such call, and need none.
    """
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def let_go(error: BaseException | None) -> None:
    """Empty the frames that an error and its causes hold: a model may be in them."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
