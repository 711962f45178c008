"""``python -m kexue``."""

import sys

from kexue._cli import main

if __name__ == "__main__":
    sys.exit(main())
