"""`python -m loadtests.chaos.launch serve ...`: the gateway, whose dead workers are replaced at once.

Law: the one file of the run that imports the gateway, and what it changes lies here: how long a
worker that keeps dying young is waited for.
"""

from __future__ import annotations

import sys

from levada import server
from levada.__main__ import main

PAUSE_SECONDS = 0.2

if __name__ == "__main__":
    server.LONGEST_PAUSE_SECONDS = PAUSE_SECONDS
    sys.exit(main())
