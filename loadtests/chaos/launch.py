"""`python -m loadtests.chaos.launch serve ...`: the gateway, quick to replace dead workers.

Law: the one file of the run that imports the gateway, and what it changes lies here: how long a
worker that keeps dying young is waited for.
"""

from __future__ import annotations

from levada import server
from levada.cli import main

PAUSE_SECONDS = 0.2

if __name__ == "__main__":
    server.LONGEST_PAUSE_SECONDS = PAUSE_SECONDS
    main()
