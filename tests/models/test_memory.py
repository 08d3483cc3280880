"""A server gives large blocks back."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np, psutil
from idc_models.memory import return_large_blocks
assert return_large_blocks()
before = psutil.Process().memory_info().rss
for _ in range(3):
    blocks = [np.ones(2**24, np.uint8) for _ in range(20)]
    small = [np.ones(100, np.uint8) for _ in range(1000)]
    del blocks
print((psutil.Process().memory_info().rss - before) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries need no setting")
def test_large_blocks_are_returned_when_they_are_freed():
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 32
