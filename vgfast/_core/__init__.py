"""The crossing into C: nets and their memory, runs of steps, functions of outputs, the limits of the machine."""

from vgfast._core.crossing import *  # noqa: F403
