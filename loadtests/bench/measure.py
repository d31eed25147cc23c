"""CPU and memory of a process tree. The only file that reads /proc/PID.

CPU comes from schedstat: nanoseconds that each thread really ran, not samples of a clock tick.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK_NS = 10_000_000
SWITCHES = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")


@dataclass(frozen=True)
class Usage:
    """What a tree of processes had used at one moment."""

    threads: dict[tuple[int, int], int]
    processes: dict[int, int]
    switches: int

    def until(self, later: Usage) -> tuple[int, int]:
        """Nanoseconds of CPU and context switches between this moment and a later one.

        A thread that has ended took its own count along; then the count of its process, which is
        kept in ticks of 10 ms, is the better one.
        """
        total = 0
        for pid in self.processes.keys() | later.processes.keys():
            fine = sum(
                ns - self.threads.get(thread, 0)
                for thread, ns in later.threads.items()
                if thread[0] == pid
            )
            before = self.processes.get(pid, 0)
            coarse = later.processes.get(pid, before) - before
            lost = any(t[0] == pid and t not in later.threads for t in self.threads)
            total += max(fine, coarse) if lost else fine
        return total, later.switches - self.switches


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children.get(pid, [])
    return found


def usage(root: int) -> Usage:
    """What the tree has used up to now."""
    threads: dict[tuple[int, int], int] = {}
    processes: dict[int, int] = {}
    switches = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            fields = _stat(pid)
            processes[pid] = (int(fields[11]) + int(fields[12])) * TICK_NS
            for task in (PROC / str(pid) / "task").iterdir():
                with contextlib.suppress(OSError):
                    ran = (task / "schedstat").read_text().split()[0]
                    threads[pid, int(task.name)] = int(ran)
                    switches += _sum(task / "status", *SWITCHES)
    return Usage(threads, processes, switches)


def resident_kib(root: int) -> int:
    """Resident memory of the tree; a page that two processes share counts twice."""
    return sum(_of(pid, "status", "VmRSS") for pid in tree(root))


def peak_kib(root: int) -> int:
    """The most that was resident since `forget_peak`."""
    return sum(_of(pid, "status", "VmHWM") for pid in tree(root))


def proportional_kib(root: int) -> int:
    """Memory of the tree, a shared page counted once (PSS)."""
    return sum(_of(pid, "smaps_rollup", "Pss") for pid in tree(root))


def forget_peak(root: int) -> None:
    """Lets `peak_kib` start from what is resident now."""
    for pid in tree(root):
        with contextlib.suppress(OSError):
            (PROC / str(pid) / "clear_refs").write_text("5")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; a name may hold blanks and brackets."""
    return (PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()


def _of(pid: int, file: str, *names: str) -> int:
    with contextlib.suppress(OSError):
        return _sum(PROC / str(pid) / file, *names)
    return 0


def _sum(path: Path, *names: str) -> int:
    """The sum of the numbers that stand behind these names in a `Name: number` file."""
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return sum(int(value.split()[0]) for name, _, value in lines if name in names)
