"""``python -m vgfast``."""

import sys

from vgfast.cli import main

if __name__ == "__main__":
    sys.exit(main())
