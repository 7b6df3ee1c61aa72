"""Whether an error says that memory ran out, on any device."""

import torch

CPU_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; on a CPU and on MPS torch raises a plain ``RuntimeError``.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: 4 bytes"))
    True
    >>> is_out_of_memory(RuntimeError("shapes do not match"))
    False
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in CPU_WORDS)
