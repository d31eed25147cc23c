"""What the bench reads of processes and how it ends them, with real ones."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from loadtests.bench import measure, targets
from loadtests.bench.process import Process, StartError, cores
from loadtests.bench.targets import Place, configured

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child:", child.pid, flush=True)
child.wait()
"""


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def python(code: str, folder: Path) -> Process:
    return Process([sys.executable, "-c", code], cores()[0], folder)


def test_a_process_is_ended_with_what_it_started(tmp_path: Path) -> None:
    with python(PARENT, tmp_path) as parent:
        child = int(parent.until(lambda: parent.line("child:"), 10))
        assert set(measure.tree(parent.pid)) == {parent.pid, child}
        assert measure.resident_kib(parent.pid) > measure.resident_kib(child) > 1000
        assert 0 < measure.proportional_kib(parent.pid) < measure.resident_kib(parent.pid)
    end = time.monotonic() + 5
    while alive(child) and time.monotonic() < end:
        time.sleep(0.01)
    assert not alive(child) and not alive(parent.pid)
    parent.end()


def test_one_that_does_not_come_up_is_an_error_with_its_words(tmp_path: Path) -> None:
    with python("raise SystemExit('no luck')", tmp_path) as process:
        with pytest.raises(StartError, match="no luck"):
            process.until(lambda: process.line("listening:"), 10)
    with python("import time; time.sleep(60)", tmp_path) as process:
        with pytest.raises(StartError, match="not ready"):
            process.until(lambda: None, 0.1)


def test_the_environment_configures_no_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEVADA_DOOR", "app")
    code = "import os; print('seen:', [n for n in os.environ if n.startswith('LEVADA_')])"
    with python(f"{code}\nimport time; time.sleep(60)", tmp_path) as process:
        assert process.until(lambda: process.line("seen:"), 10) == "[]"


def test_cpu_time_is_that_of_the_work() -> None:
    before = measure.usage(os.getpid())
    begin = time.thread_time_ns()
    while time.thread_time_ns() - begin < 50_000_000:
        pass
    spent, _ = before.until(measure.usage(os.getpid()))
    assert 50_000_000 <= spent < 500_000_000


def test_a_thread_that_ended_is_counted_by_its_process() -> None:
    before = measure.Usage({(1, 1): 10, (1, 2): 20}, {1: 0}, 0)
    later = measure.Usage({(1, 1): 11}, {1: 30_000_000}, 5)
    assert before.until(later) == (30_000_000, 5)
    assert before.until(measure.Usage({(1, 1): 11, (1, 2): 22}, {1: 30_000_000}, 5)) == (3, 5)


def test_a_peers_configuration_gets_its_ports(tmp_path: Path) -> None:
    for file in ("nginx.conf", "haproxy.cfg"):
        port, path = configured(Place(0, tmp_path, 4321, ExitStack()), file)
        text = path.read_text()
        assert f"127.0.0.1:{port}" in text and "127.0.0.1:4321" in text and "@PORT@" not in text


def test_levada_is_started_as_an_operator_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "levada"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys, time\n"
        "if sys.argv[1] == 'key':\n"
        f"    print(*sys.argv[2:], file=open({str(tmp_path / 'keys')!r}, 'a'))\n"
        '    sys.exit(print(\'[{"id": "k_1"}]\'))\n'
        "print('listening: http://127.0.0.1:4711/v1', 'admin: x', 'key: sk-1', sep='\\n')\n"
        "print('words:', *sys.argv[1:], flush=True)\n"
        "time.sleep(60)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(targets, "levada_program", lambda: str(program))
    with ExitStack() as stack:
        running = targets.levada_app(Place(cores()[0], tmp_path, 4321, stack))
        process = running.process
        words = process.until(lambda: process.line("words:"), 10)
    assert not alive(process.pid)
    assert (running.name, running.port) == ("levada-app", 4711)
    assert running.headers == {"Authorization": "Bearer sk-1"}
    listed, changed = (tmp_path / "keys").read_text().splitlines()
    assert listed.startswith("list --json --data ")
    assert changed.startswith("change k_1 ") and "tokens_per_minute" in changed
    assert words.startswith("serve --backend http://127.0.0.1:4321 --door app --host 127.0.0.1")
