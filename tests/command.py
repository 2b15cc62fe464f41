"""The command ``vgfast``."""

import io
import os
import subprocess
import sys
from unittest.mock import patch

from vgfast import cli


def vgfast(*arguments, cwd="/", **kwargs):
    """Run as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "vgfast", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        **kwargs,
    )


def vgfast_here(*arguments):
    """Run in this process, on 80 columns, as starting Python takes most of the time of a command that does little."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with patch.dict(os.environ, COLUMNS="80"), patch.multiple(sys, stdout=out, stderr=err):
        try:
            status = cli.main(list(arguments))
        except SystemExit as end:
            status = end.code
    texts = (stream.buffer.getvalue().decode() for stream in (out, err))
    return subprocess.CompletedProcess(arguments, status, *texts)
