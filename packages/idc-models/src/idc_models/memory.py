"""Memory that a server gives back."""

import ctypes

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's malloc.h


def return_large_blocks(size: int = 8 * 2**20) -> bool:
    """Have blocks of at least `size` bytes returned to the system as soon as they are freed, in the whole process.

    glibc does so at first, but raises the limit to 32 MiB when it sees such blocks freed; images of 25 million pixels,
    which are held in blocks of 16 MiB, then stay in the heap of every thread that ever decoded one: 1.4 GB after 160
    requests, growing, instead of 0.8.

    Returns:
        Whether the process has such a setting: other C libraries need none.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, size))
    except (AttributeError, OSError, TypeError):  # no glibc
        return False
