"""The command line: what it prints, what it calls, how it ends."""

import json
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from levada import loading
from levada.cli import app, main
from levada.config import Config, Enclosed

MINIMAL = "backends:\n  - {name: a, url: 'http://h:8000'}\n"


def run(*arguments: str, **environ: str) -> Result:
    clean = {name: None for name in ("LEVADA_CONFIG", "LEVADA_KEY", "LEVADA_DATA", "LEVADA_PORT")}
    return CliRunner().invoke(app, list(arguments), env={**clean, **environ})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "levada.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, str | None, loading.Source]]:
    """Takes the place of the server; what it was called with."""
    calls: list[tuple[Config, str | None, loading.Source]] = []

    def serve(
        config: Config, enclosed: Enclosed, *, key: str | None, source: loading.Source
    ) -> int:
        calls.append((config, key, source))
        return 0

    module = ModuleType("levada.server")
    module.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "levada.server", module)
    return calls


def test_help_names_every_command() -> None:
    shown = run("--help").output
    for command in ("serve", "check", "config", "key", "reload", "demo", "version"):
        assert command in shown


def test_help_names_the_variable_of_every_flag() -> None:
    shown = run("serve", "--help").output
    for flag in ("backend", "host", "port", "admin-port", "door", "data", "config"):
        assert f"--{flag}" in shown
        assert f"[env: LEVADA_{flag.upper().replace('-', '_')}]" in " ".join(shown.split())


def test_nothing_is_usage() -> None:
    assert run().exit_code == 2
    assert run("nonsense").exit_code == 2


def test_importing_the_command_line_is_light() -> None:
    heavy = "{'sqlalchemy', 'pydantic', 'ruamel.yaml', 'granian', 'alembic'}"
    code = f"import sys, levada.cli; sys.exit(str({heavy} & set(sys.modules)) != 'set()')"
    environ = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, check=False)
    assert done.returncode == 0


def test_serve_without_a_file(served: list[Any], tmp_path: Path) -> None:
    flags = ["--backend", "http://a:1", "--backend", "http://b:2", "--host", "192.0.2.1"]
    flags += ["--port", "0", "--admin-port", "0", "--door", "app", "--data", str(tmp_path)]
    assert run("serve", *flags, LEVADA_KEY="given key").exit_code == 0
    config, key, source = served[0]
    assert [backend.url for backend in config.backends] == ["http://a:1", "http://b:2"]
    assert (config.listen.host, config.listen.port, config.listen.admin_port) == ("192.0.2.1", 0, 0)
    assert (config.door, config.data, key) == ("app", tmp_path, "given key")
    assert source.load({}) == config


def test_serve_with_a_file_named_by_the_environment(served: list[Any], file: Path) -> None:
    result = run("serve", LEVADA_CONFIG=str(file), LEVADA_PORT="99")
    assert result.exit_code == 0
    config, key, source = served[0]
    assert (config.listen.port, key, source.path) == (99, None, file)


def test_serve_prints_problems_and_does_not_start(served: list[Any]) -> None:
    result = run("serve", "--backend", "x", "--door", "side")
    assert result.exit_code == 2
    assert "--backend: backends[0].url: 'x' is not http:// or https://" in result.stderr
    assert "--door: door: 'side' is not one of" in result.stderr
    assert run("serve").exit_code == 2
    assert run("serve", "--backend", "http://h", LEVADA_KEY="a\nb").exit_code == 2
    assert served == []


def test_check_prints_every_problem(file: Path) -> None:
    file.write_text("threads: x\nbakends: []\n" + MINIMAL)
    result = run("check", str(file))
    assert result.exit_code == 1
    assert result.stdout == (
        f"{file}:1: threads: 'x' is not a whole number\n"
        f"{file}:2: bakends: unknown key 'bakends'; did you mean 'backends'?\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL, "1 backend, the models they serve"),
        (
            "backends:\n  - {name: a, url: 'http://h', models: [x, y]}\n"
            "  - {name: b, url: 'http://h', models: [y, z]}\n",
            "2 backends, 3 models",
        ),
        (f"models: [{{name: m}}]\n{MINIMAL}", "1 backend, 1 model"),
    ],
)
def test_check_of_a_good_file(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    result = run("check", str(file))
    assert (result.exit_code, result.stdout) == (0, f"{file}: ok ({said})\n")


def test_schema() -> None:
    found = json.loads(run("config", "schema").stdout)
    assert found["title"] == "levada.yaml"


def test_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", {"levada": "1.2.3"}.__getitem__)
    assert run("version").stdout == "levada 1.2.3\n"


def test_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[bool] = []

    def demo(*, once: bool) -> int:
        called.append(once)
        return 1

    module = ModuleType("levada.demo")
    module.demo = demo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "levada.demo", module)
    assert run("demo", "--once").exit_code == 1
    assert run("demo").exit_code == 1
    assert called == [True, False]


class Admin(HTTPServer):
    """An admin listener that gives one answer and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.answer: tuple[int, bytes] = (200, b'{"version": 7}')
        self.asked: list[tuple[str, str | None]] = []


class Answer(BaseHTTPRequestHandler):
    """One answer of `Admin`."""

    server: Admin

    def do_POST(self) -> None:
        self.server.asked.append((self.path, self.headers["authorization"]))
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    server = Admin()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    (tmp_path / "admin.json").write_text(json.dumps({"url": url, "token": "secret-token"}))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_reload(admin: Admin, tmp_path: Path) -> None:
    result = run("reload", "--data", str(tmp_path))
    assert (result.exit_code, result.stdout) == (0, "reloaded: version 7\n")
    assert admin.asked == [("/admin/reload", "Bearer secret-token")]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((422, b'{"problems": ["f:1: a", "f:2: b"]}'), "the old one stays\nf:1: a\nf:2: b\n"),
        ((401, b"{}"), "the old one stays\nthe answer was 401\n"),
        ((200, b"<html>"), "no Levada answers by"),
        ((200, b"7"), "no Levada answers by"),
    ],
)
def test_reload_refused(admin: Admin, tmp_path: Path, answer: tuple[int, bytes], said: str) -> None:
    admin.answer = answer
    result = run("reload", "--data", str(tmp_path))
    assert result.exit_code == 1
    assert said in result.stderr
    assert "secret-token" not in result.output


def test_reload_where_nobody_listens(tmp_path: Path) -> None:
    result = run("reload", "--data", str(tmp_path))
    assert (result.exit_code, "no Levada answers by" in result.stderr) == (1, True)
    (tmp_path / "admin.json").write_text('{"url": "http://127.0.0.1:1", "token": "t"}')
    result = run("reload", "--data", str(tmp_path))
    assert result.exit_code == 1
    assert "no Levada answers by" in result.stderr
    (tmp_path / "admin.json").write_text("[]")
    result = run("reload", "--data", str(tmp_path))
    assert (result.exit_code, "no Levada answers by" in result.stderr) == (1, True)


def test_the_module_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["levada", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("levada", run_name="__main__")
    assert ended.value.code == 0
    runpy.run_module("levada.__main__", run_name="imported")
    with pytest.raises(SystemExit):
        main()
