"""`python -m lrlib …` runs the command line of `lrlib.lab`."""

import sys

from lrlib.lab.command import main

if __name__ == "__main__":
    sys.exit(main())
