"""Keeping memory that large tensors will need again."""

import ctypes
import platform

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have glibc keep freed memory for this process, rather than hand every block above 32 MiB back to the system.

    What is handed back is got anew page by page at the next layer of the network, which takes as long as its
    convolution where images are large and the network is small. Peak memory does not change; memory is given back at
    the end only.

    Returns:
        Whether it took effect; other C libraries know no such settings.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(parameter, _LARGEST) for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
