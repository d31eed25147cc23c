"""llama.cpp's server as a process of its own. The only file of the tests that starts it, and its
own child's program.

python tests/engine/launch.py MODEL.gguf ALIAS PORT     prints `ready http://127.0.0.1:PORT`, serves
till SIGTERM
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

SLOTS = 4
TOKENS_PER_SLOT = 2048


class Engine:
    """A running engine that answers chat, completions and embeddings under the name `alias`."""

    def __init__(self, model: Path, alias: str = "tiny", port: int = 0) -> None:
        self.alias = alias
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(model), alias, str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self.url = self.wait_ready()

    def wait_ready(self, timeout: float = 30.0) -> str:
        assert self.process.stdout is not None
        guard = threading.Timer(timeout, self.process.kill)
        guard.start()
        line = self.process.stdout.readline().split()
        guard.cancel()
        if len(line) != 2 or line[0] != "ready":
            raise AssertionError(f"the engine did not start: {line}")
        return line[1]

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL: the engine has no time to say goodbye."""
        self.process.kill()
        self.reap(10)

    def reap(self, timeout: float) -> None:
        assert self.process.stdout is not None
        self.process.wait(timeout)
        self.process.stdout.close()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.reap(5)
        except subprocess.TimeoutExpired:
            self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(model: str, alias: str, port: int) -> None:
    import xllamacpp  # only in the child: the tests' own process stays free of it

    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # inherited by the engine's threads
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.model_alias = {alias}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_parallel = SLOTS
    parameters.n_ctx = SLOTS * TOKENS_PER_SLOT
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    # Of what is drawn by chance, 1 in 600 JSON answers is none that llama.cpp reads: it says 500.
    parameters.sampling.seed = 1
    parameters.use_jinja = True
    parameters.embedding = True
    parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(parameters)
    print("ready", server.listening_address, flush=True)
    signal.sigwait(signals)
    os._exit(0)  # its threads need not be waited for


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
