"""From file, environment and flags to one Config, or to every problem with its file and line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import made, write

from levada import loading, profiles
from levada.config import Storage
from levada.document import ConfigProblems
from levada.loading import Overrides, Source

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
MINIMAL = "backends:\n  - {name: a, url: 'http://h:8000'}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "levada.yaml"


def problems(file: Path, text: str | bytes, environ: dict[str, str] | None = None) -> list[str]:
    """The problems of a file with this text, without the folder's name."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigProblems) as refused:
        loading.load(file, Overrides(), environ or {})
    return [line.replace(f"{file.parent}/", "") for line in str(refused.value).splitlines()]


def one_problem(file: Path, text: str, environ: dict[str, str] | None = None) -> str:
    found = problems(file, text, environ)
    assert len(found) == 1, found
    return found[0]


def test_every_problem_at_once(file: Path) -> None:
    text = """\
bakends: 1
listen:
  port: 99999
  hots: x
  tls: {certificate: nope.pem}
backends:
  - name: a
    url: ftp://x
    key: "${NO_KEY}"
  - name: a
    url: http://again
    key: 7
    url: http://user:sk-hidden@h
  - {name: c, url: "http://h:${P:-80}/v1", key: "file:nope", kee: sk-hidden, models: []}
models:
  - {name: m, backends: [a, zz]}
deadlines: {total: 10, idle: 1m, first_byte: soon, connect: true}
door: egde
"""
    duration = "is not a duration such as 2, 2s, 500ms, 10m, 1h or 30d"
    assert problems(file, text) == [
        "levada.yaml:1: bakends: unknown key 'bakends'; did you mean 'backends'?",
        "levada.yaml:3: listen.port: 99999 is more than 65535",
        "levada.yaml:4: listen.hots: unknown key 'hots'; did you mean 'host'?",
        "levada.yaml:5: listen.tls.certificate: cannot read 'nope.pem': No such file or directory",
        "levada.yaml:5: listen.tls.key: is missing",
        "levada.yaml:8: backends[0].url: 'ftp://x' is not http:// or https://",
        "levada.yaml:9: backends[0].key: the environment variable 'NO_KEY' is not set",
        "levada.yaml:10: backends[1].name: 'a' is the name of backends[0] too",
        "levada.yaml:12: backends[1].key: the value is not a text",
        "levada.yaml:13: backends[1].url: 'url' is set twice, first on line 11",
        "levada.yaml:14: backends[2].key: cannot read 'nope': No such file or directory",
        "levada.yaml:14: backends[2].kee: unknown key 'kee'; did you mean 'key'?",
        "levada.yaml:14: backends[2].models: the list is empty",
        "levada.yaml:16: models[0].backends[1]: 'zz' is not one of the backends",
        "levada.yaml:17: deadlines.connect: true is not a number",
        f"levada.yaml:17: deadlines.first_byte: 'soon' {duration}",
        "levada.yaml:17: deadlines.idle: 60 s is longer than the total of 10 s",
        "levada.yaml:18: door: 'egde' is not one of 'edge' or 'app'; did you mean 'edge'?",
    ]


def test_a_missing_section_that_is_only_misspelt_is_told_once(file: Path) -> None:
    found = one_problem(file, "bakends:\n  - {name: a, url: 'http://h'}\n")
    assert found == "levada.yaml:1: bakends: unknown key 'bakends'; did you mean 'backends'?"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("threads: x", "threads: 'x' is not a whole number"),
        ("threads: 1.5", "threads: 1.5 is not a whole number"),
        ("threads: [1]", "threads: a list is not a whole number"),
        ("threads: true", "threads: true is not a number"),
        ("threads: " + "9" * 5000, "threads: '" + "9" * 80 + "...' is not a whole number"),
        ("retry: {ratio: x}", "retry.ratio: 'x' is not a number"),
        ("retry: {ratio: .nan}", "retry.ratio: nan is not a number"),
        ("retry: {ratio: -1}", "retry.ratio: -1 is less than 0"),
        ("retry: null", "retry: null is not a mapping"),
        ("listen: {host: 7}", "listen.host: 7 is not a text"),
        ("listen: {host: {a: b}}", "listen.host: a mapping is not a text"),
        ('listen: {host: "a\\nb"}', "listen.host: 'a\\nb' is not a host name or an address"),
        ("listen: {trusted_proxies: 7}", "listen.trusted_proxies: 7 is not a list"),
        ("data: 7", "data: 7 is not a path"),
        ("data: false", "data: false is not a path"),
        ("log: {level: 7}", "log.level: 7 is not one of 'debug', 'info', 'warning' or 'error'"),
        ("log: {level: loud}", "log.level: 'loud' is not one of 'debug', 'info', 'warning' or"),
        ("zzz: 1", "zzz: unknown key 'zzz'"),
        ("listen: {tls: {kye: x}}", "listen.tls.kye: unknown key 'kye'; did you mean 'key'?"),
        ("models: [{nam: m}]", "models[0].nam: unknown key 'nam'; did you mean 'name'?"),
        ("threads: ${N}", "threads: '${N}' is not a whole number"),
        ("threads: ${", "threads: has a '${' that names no variable"),
        ("threads: 1\nthreads: 2", "threads: 'threads' is set twice, first on line 1"),
        (
            'listen: {tls: {certificate: "a\\0", key: k.pem}}',
            "listen.tls.certificate: is not a path",
        ),
        ("models: [{name: m, backends: []}]", "models[0].backends: the list is empty"),
    ],
)
def test_one_wrong_value(file: Path, line: str, said: str) -> None:
    (file.parent / "k.pem").write_text(PEM)
    found = problems(file, f"{line}\n{MINIMAL}", {"N": "sk-hidden"})
    assert any(said in problem for problem in found), found
    assert "hidden" not in str(found)


def test_a_bool_has_its_own_words(file: Path) -> None:
    text = "backends:\n  - {name: a, url: 'http://h', verify: maybe}\n"
    found = one_problem(file, text)
    assert found == "levada.yaml:2: backends[0].verify: 'maybe' is not true or false"


@pytest.mark.parametrize("text", ["", "listen: {port: 1}\n"])
def test_a_file_without_backends(file: Path, text: str) -> None:
    assert one_problem(file, text) == "levada.yaml: backends: is missing"


def test_bad_yaml(file: Path) -> None:
    found = problems(file, "backends:\n  - name: a\n   url: x\n")
    assert found[0].startswith("levada.yaml:3: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a: \xff", "'levada.yaml' is not UTF-8"), (b"#" * 1048577, "is larger than 1048576 bytes")],
)
def test_a_file_that_is_no_text(file: Path, content: bytes, said: str) -> None:
    assert said in problems(file, content)[0]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblems, match=r"no\.yaml: cannot read .*: No such file"):
        loading.load(tmp_path / "no.yaml", None, {})


def test_references_and_secret_files(file: Path) -> None:
    (file.parent / "secret").write_text("sk-from-file\n")
    file.write_text(
        "threads: ${THREADS}\n"
        "backends:\n"
        "  - {name: a, url: '${URL:-http://h}', key: 'file:secret'}\n"
        "  - {name: b, url: 'http://h', key: '${file:secret}'}\n"
        "  - {name: c, url: 'http://h', key: '${KEY}'}\n"
    )
    config = loading.load(file, None, {"THREADS": "3", "KEY": "sk-env"})
    secrets = [backend.key and backend.key.get_secret_value() for backend in config.backends]
    assert secrets == ["sk-from-file", "sk-from-file", "sk-env"]
    assert config.threads == 3
    assert config.backends[0].url == "http://h"


def test_what_a_variable_holds_cannot_add_a_setting(file: Path) -> None:
    file.write_text(f"listen: {{host: '${{HOST}}'}}\n{MINIMAL}")
    with pytest.raises(ConfigProblems, match=r"'\$\{HOST\}' is not a host name"):
        loading.load(file, None, {"HOST": "h, port: 1"})


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), min_size=8))
def test_a_secret_is_in_no_problem(secret: str) -> None:
    draft = loading._Draft({"S": f"{secret} bad"}, None)
    tree = {
        "backends": [{"name": "a", "url": "u", "key": "${S}"}, {"key": [secret * 3]}],
        "webhooks": [{"name": "a", "url": "http://h", "secret": "${S}"}, {"secret": secret * 99}],
    }
    draft.values = {name: draft._resolve(value, (name,)) for name, value in tree.items()}
    with pytest.raises(ConfigProblems) as refused:
        draft.judge()
    shown = str(refused.value).replace("levada", "").replace("backends", "")
    shown = shown.replace("webhooks", "").replace("secret", "")
    assert secret not in shown.replace("character", "").replace("missing", "")


def test_paths_are_relative_to_the_file(file: Path) -> None:
    for name in ("c.pem", "k.pem", "ca.pem"):
        (file.parent / name).write_text(PEM)
    file.write_text(
        "data: state\nlisten: {tls: {certificate: c.pem, key: k.pem}}\n"
        "backends:\n  - {name: a, url: 'https://h', ca: ca.pem}\n  - {name: b, url: 'http://h'}\n"
    )
    config, enclosed = Source(file).read({})
    assert config.data == file.parent / "state"
    assert enclosed.tls == (PEM, PEM)
    assert enclosed.ca == {"a": PEM}
    assert "BEGIN" not in repr(enclosed)
    (file.parent / "ca.pem").unlink()
    (file.parent / "k.pem").write_text("nothing")
    with pytest.raises(ConfigProblems) as refused:
        Source(file).read({})
    texts = [str(problem) for problem in refused.value.problems]
    assert texts[0].endswith(f"listen.tls.key: '{file.parent}/k.pem' holds no PEM block")
    assert "backends[0].ca: cannot read" in texts[1]


def test_no_pem_file_is_needed(file: Path) -> None:
    file.write_text(MINIMAL)
    _, enclosed = Source(file).read({})
    assert (enclosed.tls, enclosed.ca) == (None, {})


def test_a_pasted_pem_is_not_shown(file: Path) -> None:
    text = f"listen: {{tls: {{certificate: '{PEM.strip()}', key: k.pem}}}}\n{MINIMAL}"
    (file.parent / "k.pem").write_text(PEM)
    found = "\n".join(problems(file, text))
    assert "listen.tls.certificate: is a PEM text, not the name of a file" in found
    assert "AAAA" not in found


def test_a_tokenizer_is_built_in_or_lies_beside_the_file(file: Path) -> None:
    named = "models: [{name: m, tokenizer: o200k_base}, {name: n, tokenizer: t.json}, {name: o}]\n"
    write(file.parent / "t.json", made("bytes"))
    file.write_text(MINIMAL + named)
    models = Source(file).load({}).models or ()
    beside = str(file.parent / "t.json")
    assert [model.tokenizer for model in models] == ["o200k_base", beside, None]


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        ("t.json", "cannot read 't.json': No such file or directory (os error 2)"),
        ("broken.json", "'broken.json' is not a tokenizer.json: EOF while parsing"),
        (".", "is not a file"),
        ("''", "models[0].tokenizer"),
        ("[]", "models[0].tokenizer"),
        ("{a: b}", "models[0].tokenizer"),
    ],
)
def test_a_tokenizer_that_is_none_has_its_line(file: Path, tokenizer: str, said: str) -> None:
    (file.parent / "broken.json").write_text("{")
    found = one_problem(file, f"{MINIMAL}models:\n  - name: m\n    tokenizer: {tokenizer}\n")
    assert found.startswith("levada.yaml:5: ")
    assert said in found


def test_without_a_file() -> None:
    flags = Overrides(backends=("http://a:1", "http://b:2"), port=0, admin_port=0, door="app")
    config = loading.load(None, flags, {})
    assert [(one.name, one.url) for one in config.backends] == [
        ("backend-1", "http://a:1"),
        ("backend-2", "http://b:2"),
    ]
    assert (config.listen.port, config.listen.admin_port, config.door) == (0, 0, "app")
    assert config.data == Path("data")


def test_nothing_at_all() -> None:
    with pytest.raises(ConfigProblems, match="levada: there is no backend; give --backend URL"):
        loading.load(None, None, {})


def test_flags_then_environment_then_file(file: Path) -> None:
    file.write_text(f"listen: {{host: 1.1.1.1, port: 1, admin_port: 2}}\n{MINIMAL}")
    environ = {
        "LEVADA_CONFIG": str(file),
        "LEVADA_HOST": "2.2.2.2",
        "LEVADA_PORT": "22",
        "LEVADA_ADMIN_PORT": "",
        "LEVADA_DATA": "/else",
        "LEVADA_DOOR": "app",
        "LEVADA_BACKEND": "http://x:1, http://y:2",
    }
    config = loading.load(None, Overrides(host="3.3.3.3"), environ)
    listen = config.listen
    assert (listen.host, listen.port, listen.admin_port) == ("3.3.3.3", 22, 2)
    assert (config.data, config.door) == (Path("/else"), "app")
    assert [one.url for one in config.backends] == ["http://x:1", "http://y:2"]
    source = Source(file, Overrides(backends=("http://z",), data=Path("near")))
    again = source.load(environ)
    assert [one.url for one in again.backends] == ["http://z"]
    assert again.data == Path("near").absolute()


def test_problems_of_flags_and_environment_name_them(file: Path) -> None:
    file.write_text(f"listen:\n  port: 1\n{MINIMAL}")
    with pytest.raises(ConfigProblems) as refused:
        loading.load(file, Overrides(backends=("x",)), {"LEVADA_PORT": "many", "LEVADA_DOOR": "c"})
    assert {str(problem) for problem in refused.value.problems} == {
        "--backend: backends[0].url: 'x' is not http:// or https://",
        "LEVADA_PORT: listen.port: 'many' is not a whole number",
        "LEVADA_DOOR: door: 'c' is not one of 'edge' or 'app'",
    }


def test_a_flag_inside_a_section_that_is_none(file: Path) -> None:
    file.write_text(f"listen: 7\n{MINIMAL}")
    with pytest.raises(ConfigProblems, match="listen: 7 is not a mapping"):
        loading.load(file, Overrides(port=1), {})


def test_check_looks_at_the_file_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(MINIMAL)
    monkeypatch.setenv("LEVADA_PORT", "many")
    assert loading.check(file).listen.port == 8080
    with pytest.raises(ConfigProblems, match="LEVADA_PORT"):
        loading.load(file)


def test_given_key() -> None:
    assert loading.given_key({}) is None
    assert loading.given_key({"LEVADA_KEY": " "}) is None
    assert loading.given_key({"LEVADA_KEY": " any thing "}) == "any thing"
    for bad in ("a\nb", "x" * 513):
        with pytest.raises(ConfigProblems, match="LEVADA_KEY: is not a text of 1 to 512"):
            loading.given_key({"LEVADA_KEY": bad})


def test_data_folder(file: Path) -> None:
    assert loading.data_folder(Source(), {}) == Path("data")
    assert loading.data_folder(Source(), {"LEVADA_DATA": "/d"}) == Path("/d")
    flags = Overrides(data=Path("/flag"))
    assert loading.data_folder(Source(file, flags), {"LEVADA_DATA": "/d"}) == Path("/flag")
    file.write_text(MINIMAL)
    assert loading.data_folder(Source(), {"LEVADA_CONFIG": str(file)}) == file.parent / "data"
    file.write_text(f"data: null\n{MINIMAL}")
    assert loading.data_folder(Source(file), {}) is None


def test_storage(file: Path) -> None:
    url = "postgresql://u:canary@h/db"
    assert loading.storage(Source(), {}) == Storage()
    found = loading.storage(Source(), {"LEVADA_STORE": url})
    assert found.url is not None
    assert found.url.get_secret_value() == url
    assert "canary" not in repr(found)
    (file.parent / "pepper").write_text("ab" * 32 + "\n")
    file.write_text(f"store: {{url: '${{PG}}', pepper: 'file:pepper'}}\n{MINIMAL}")
    found = loading.storage(Source(file), {"PG": url})
    assert found.pepper is not None
    assert found.pepper.get_secret_value() == "ab" * 32
    for store in ("{url: '${PG}'}", "'${PG}'"):
        file.write_text(f"store: {store}\n{MINIMAL}")
        with pytest.raises(ConfigProblems, match="store") as refused:
            loading.load(file, None, {"PG": "mysql://u:canary@h/db"})
        assert "canary" not in str(refused.value)
    (file.parent / "redis").write_text("http://:canary@h\n")
    file.write_text(f"limits: {{redis: 'file:redis'}}\n{MINIMAL}")
    with pytest.raises(ConfigProblems, match="redis://") as refused:
        loading.load(file, None, {})
    assert "canary" not in str(refused.value)
    file.write_text(f"data: null\nstore: {{url: '{url}'}}\n{MINIMAL}")
    (missing,) = problems(file, file.read_text())
    assert missing.endswith("it would end with the temporary data folder")


GPU = "backends: [{name: a, url: 'http://b:1'}]\n"


def test_a_profile_is_named_or_lies_beside_the_file(file: Path) -> None:
    said = one_problem(file, GPU + "profile: openay\n")
    assert said.startswith("levada.yaml:2: profile: no profile is named 'openay'; built in are")
    assert one_problem(file, GPU + "profile: [1]\n").startswith("levada.yaml:2: profile: ")
    own = file.with_name("own.yaml")
    own.write_text("id: own\nversion: '1'\nextends: flexai\nendpoints: {embeddings: absent}\n")
    file.write_text(GPU + "profile: own.yaml\n")
    config, enclosed = Source(file).read({})
    assert config.profile == str(own)
    (made,) = enclosed.profiles
    assert made.form["name"] == "own"
    assert made.form["endpoints"]["embeddings"] is None
    assert [one.name for one in made.files] == ["own.yaml", "flexai.yaml", "openai.yaml"]
    own.unlink()
    with pytest.raises(ConfigProblems, match="no profile is named"):
        Source(file).read({})


HOSTS = """
hosts:
  - {name: API.Flex.example, profile: flexai}
  - {name: "*.own.example", profile: own.yaml}
  - {name: flex.example., profile: flexai}
"""


def test_each_profile_is_made_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = file.with_name("own.yaml")
    own.write_text("id: own\nversion: '1'\nextends: flexai\n")
    file.write_text(GPU + HOSTS)
    made, make = [], profiles.make
    monkeypatch.setattr(profiles, "make", lambda name: made.append(name) or make(name))
    config, enclosed = Source(file).read({})
    assert made == ["openai", "flexai", str(own)]
    assert [one.form["name"] for one in enclosed.profiles] == ["openai", "flexai", "own"]
    assert enclosed.hosts == {"api.flex.example": 1, "*.own.example": 2, "flex.example": 1}
    assert config.hosts[1].profile == str(own)


def test_a_mistake_in_any_profile_has_its_line(file: Path) -> None:
    own = file.with_name("own.yaml")
    own.write_text("id: own\nversion: '1'\nextends: flexai\nunknown_parms: drop\n")
    said = one_problem(file, GPU + HOSTS)
    assert (
        said
        == "own.yaml:4: unknown_parms: unknown key 'unknown_parms'; did you mean 'unknown_params'?"
    )
    own.unlink()
    assert one_problem(file, GPU + HOSTS).startswith("levada.yaml:5: hosts[1].profile: no profile")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "hosts: [{name: a, profile: flexai}, {name: A, profile: ionos}]",
            "hosts[1].name: 'A' is the",
        ),
        ("hosts: [{name: 'a:80', profile: flexai}]", "hosts[0].name: 'a:80' is not a host name"),
        ("hosts: [{name: '*.*.a', profile: flexai}]", "hosts[0].name: '*.*.a' is not a host name"),
        ("hosts: [{name: a, profile: flexi}]", "hosts[0].profile: no profile is named 'flexi'"),
        ("hosts: [{profile: flexai}]", "hosts[0].name: is missing"),
        ("hosts: [a]", "hosts[0]: 'a' is not a mapping"),
        (
            "cors: {origins: [https://a.example/]}",
            "cors.origins[0]: 'https://a.example/' is not an",
        ),
        (
            "cors: {origins: ['*', https://a.example]}",
            "cors.origins[0]: '*' is any origin: it stands",
        ),
        (
            "cors: {origins: ['*']}\nprofile: flexai",
            "cors.origins: '*' is any origin, which the profile flexai rules out; name the origins",
        ),
        (
            "cors: {origins: ['*']}\nhosts: [{name: a, profile: flexai}]",
            "cors.origins: '*' is any origin, which the profile flexai rules out; name the origins",
        ),
    ],
)
def test_hosts_and_origins_that_cannot_be(file: Path, text: str, said: str) -> None:
    assert one_problem(file, GPU + text + "\n").startswith(f"levada.yaml:2: {said}")


def test_origins_as_browsers_send_them(file: Path) -> None:
    file.write_text(GPU + "cors: {origins: [HTTPS://App.example:443, 'http://[::1]:8080']}\n")
    assert loading.load(file, None, {}).cors.origins == ("https://app.example", "http://[::1]:8080")
    file.write_text(GPU + "cors: {origins: ['*']}\n")
    assert loading.load(file, None, {}).cors.origins == ("*",)


def test_the_operators_limits_stand_in_the_profiles_place(file: Path) -> None:
    file.write_text(GPU + "profile: flexai\nlimits: {requests: [{requests: 9, per_s: 1}]}\n")
    _, enclosed = Source(file).read({})
    window = {"requests": 9, "per_ms": 1000, "burst": None, "endpoints": []}
    assert enclosed.profiles[0].form["rate"] == {
        "unit": "per_key",
        "headers": "flexai",
        "windows": [window],
    }
