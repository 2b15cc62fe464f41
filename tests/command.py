"""The command ``vgfast``, run as a user runs it."""

import subprocess
import sys


def vgfast(*arguments, cwd="/", **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "vgfast", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        **kwargs,
    )
