"""When the tasks look that look again and again: together.

Law: whoever is due at about the same time is due at once, so that the thread is woken once for all.
"""

import asyncio


async def beat(seconds: float) -> None:
    """Sleeps until the next time that is a multiple of `seconds`, half of them at the least."""
    wait = seconds - asyncio.get_running_loop().time() % seconds
    await asyncio.sleep(wait if wait >= seconds / 2 else wait + seconds)
