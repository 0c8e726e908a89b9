"""`python -m lrlib …`: the door to the laboratory's command line."""

import sys

from lrlib.lab.command import main

if __name__ == "__main__":
    sys.exit(main())
