"""File + environment + flags → Config, or every problem at once with its file and line.

The only file that reads the environment and the files of the configuration. Flags win over the
environment, the environment over the file, the file over the defaults.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from levada import document, price_file, profiles, tokens, wording
from levada.config import Config, Enclosed, Made, Storage, Where, contradictions
from levada.document import ConfigProblems as ConfigProblems
from levada.document import Problem, spell
from levada.jwks import KeySet, NotKeysError, public_keys
from levada.prices import Prices
from levada.profiles.compiled import timed
from levada.references import UnresolvedError, expand
from levada.values import ENCODINGS

_FILE_BYTES = 1024 * 1024
_KEY_LENGTH = 512
_PEM = "-----BEGIN "

Environ = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the flags of `levada serve` say; None or empty where a flag is absent."""

    backends: tuple[str, ...] = ()
    host: str | None = None
    port: int | None = None
    admin_port: int | None = None
    door: str | None = None
    profile: str | None = None
    data: Path | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a Config came from, so that it can be loaded again: at a reload, or by a new worker."""

    path: Path | None = None
    overrides: Overrides = field(default_factory=Overrides)

    def load(self, environ: Environ | None = None) -> Config:
        """The Config as it reads now; ConfigProblems."""
        return self.read(environ)[0]

    def read(self, environ: Environ | None = None) -> tuple[Config, Enclosed]:
        """The same, and what the files that it names hold; ConfigProblems."""
        draft = _Draft(_environ(environ), locate(self.path, environ))
        draft.read()
        draft.override(self.overrides)
        return draft.judge()


def locate(path: Path | None, environ: Environ | None = None) -> Path | None:
    """The configuration file: the one named by the flag, else by LEVADA_CONFIG, else none."""
    named = _environ(environ).get("LEVADA_CONFIG")
    return path or (Path(named) if named else None)


def given_key(environ: Environ | None = None) -> str | None:
    """The client key that the operator gives in LEVADA_KEY, if any; ConfigProblems."""
    text = _environ(environ).get("LEVADA_KEY", "").strip(" ")
    if len(text) > _KEY_LENGTH or not text.isprintable():
        message = f"is not a text of 1 to {_KEY_LENGTH} printable characters"
        raise ConfigProblems([Problem("LEVADA_KEY", None, "", message)])
    return text or None


def load(
    path: Path | None, overrides: Overrides | None = None, environ: Environ | None = None
) -> Config:
    """The Config of a file, or of flags and environment alone; ConfigProblems."""
    return Source(path, overrides or Overrides()).load(environ)


def check(path: Path, environ: Environ | None = None) -> Config:
    """The Config of a file alone, whatever the environment would put over it; ConfigProblems."""
    draft = _Draft(_environ(environ), path)
    draft.read()
    return draft.judge()[0]


def data_folder(source: Source, environ: Environ | None = None) -> Path | None:
    """The data folder, for a command that needs nothing else; None: a temporary one."""
    named = source.overrides.data or _environ(environ).get("LEVADA_DATA")
    if named:
        return Path(named)
    path = locate(source.path, environ)
    if path is None:
        default: Path = Config.model_fields["data"].default
        return default
    return load(path, source.overrides, environ).data


def storage(source: Source, environ: Environ | None = None) -> Storage:
    """Where keys and ledger are kept, for a command that needs nothing else; ConfigProblems."""
    overrides = source.overrides
    if locate(source.path, environ) is None:
        # Nobody calls it: without a file and without a backend there is no Config.
        overrides = replace(overrides, backends=("http://localhost",))
    return Source(source.path, overrides).load(environ).store


def _limited(made: Made, config: Config) -> Made:
    """The profile with what the operator says of how often callers may ask."""
    windows = config.limits.requests
    if windows is None:
        return made
    rate = {**made.form["rate"], "windows": timed(one.model_dump() for one in windows)}
    return replace(made, form={**made.form, "rate": rate})


def _environ(environ: Environ | None) -> Environ:
    return os.environ if environ is None else environ


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_BYTES + 1)
        if len(raw) > _FILE_BYTES:
            raise UnresolvedError(f"'{path}' is larger than {_FILE_BYTES} bytes")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise UnresolvedError(f"cannot read '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnresolvedError(f"'{path}' is not UTF-8") from None
    except ValueError:
        raise UnresolvedError("is not a path") from None


def _pem(path: Path) -> str:
    if _PEM in str(path):
        raise UnresolvedError("is a PEM text, not the name of a file that holds one")
    text = _text(path)
    if _PEM not in text:
        raise UnresolvedError(f"'{path}' holds no PEM block")
    return text


def _jwks(path: Path) -> KeySet:
    try:
        return public_keys(_text(path).encode())
    except NotKeysError as error:
        raise UnresolvedError(f"'{path}' {error}") from None


class _Draft:
    """The values gathered so far, where each came from, and what is wrong with them."""

    def __init__(self, environ: Environ, path: Path | None) -> None:
        self.environ = environ
        self.path = path
        self.base = Path() if path is None else path.parent
        self.values: dict[str, Any] = {}
        self.places: dict[Where, tuple[str, int | None]] = {(): (str(path or "levada"), None)}
        self.written: dict[Where, str] = {}
        self.problems: list[Problem] = []
        self.spoilt: set[Where] = set()
        self.pems: dict[Path, str] = {}
        self.jwks: dict[Path, KeySet] = {}
        self.made: dict[str, Made] = {}
        self.prices: Prices | None = None
        self.tried: set[str] = set()

    def read(self) -> None:
        """The file: its YAML, then the references in its texts."""
        if self.path is None:
            return
        try:
            found = document.parse(_text(self.path))
        except UnresolvedError as error:
            raise ConfigProblems([Problem(str(self.path), None, "", str(error))]) from None
        file = str(self.path)
        self.places |= {where: (file, line) for where, line in found.lines.items()}
        for where, line, message in found.problems:
            self.spoilt.add(where)
            self.problems.append(Problem(file, line, spell(where), message))
        self.values = {name: self._resolve(value, (name,)) for name, value in found.values.items()}

    def override(self, flags: Overrides) -> None:
        """The flags and, where they are silent, the environment."""
        origin, urls = "--backend", list(flags.backends)
        if not urls:
            origin = "LEVADA_BACKEND"
            urls = self.environ.get(origin, "").replace(",", " ").split()
        if urls:
            named = [{"name": f"backend-{i}", "url": url} for i, url in enumerate(urls, 1)]
            self._put(("backends",), origin, named)
        self._choose(("listen", "host"), "host", flags.host)
        self._choose(("listen", "port"), "port", flags.port)
        self._choose(("listen", "admin_port"), "admin-port", flags.admin_port)
        self._choose(("door",), "door", flags.door)
        self._choose(("profile",), "profile", flags.profile)
        self._choose(("data",), "data", flags.data)
        # No flag: what stands on a command line is seen by everybody, and this holds a password.
        url = self.environ.get("LEVADA_STORE")
        if url:
            self._put(("store", "url"), "LEVADA_STORE", url)

    def _choose(self, where: Where, flag: str, given: str | int | Path | None) -> None:
        origin = f"--{flag}"
        if given is None:
            origin = f"LEVADA_{flag.upper().replace('-', '_')}"
            given = self.environ.get(origin) or None
        if given is not None:
            # a folder named by a flag is relative to where the flag was typed, not to the file
            self._put(where, origin, Path(str(given)).absolute() if flag == "data" else given)

    def judge(self) -> tuple[Config, Enclosed]:
        """The Config and what the files hold, if nothing at all is wrong."""
        if self.path is None and "backends" not in self.values:
            message = "there is no backend; give --backend URL or --config FILE"
            raise ConfigProblems([Problem("levada", None, "", message)])
        for where, path in self._pem_paths():
            self._try(where, path, _pem, self.pems)
        for where, path in self._jwks_paths():
            self._try(where, path, _jwks, self.jwks)
        for where, name in self._tokenizer_names():
            self._try_tokenizer(where, name)
        for where, name in self._profile_names():
            self._try_profile(where, name)
        self._try_origins()
        self._try_prices()
        try:
            config = Config.model_validate(self.values, context={"base": self.base})
        except ValidationError as error:
            self._explain(error.errors(include_url=False))
        if self.problems:
            raise ConfigProblems(sorted(self.problems, key=lambda found: found.line or 0))
        return config, self._enclosed(config)

    def _enclosed(self, config: Config) -> Enclosed:
        """What was read, in the order of the Config: each profile once."""
        tls, pems = config.listen.tls, self.pems
        places = {name: place for place, name in enumerate(self.made)}
        return Enclosed(
            (pems[tls.certificate], pems[tls.key]) if tls else None,
            {backend.name: pems[backend.ca] for backend in config.backends if backend.ca},
            tuple(_limited(made, config) for made in self.made.values()),
            {host.name: places[host.profile] for host in config.hosts},
            {
                one.jwks: self.jwks[Path(one.jwks)]
                for one in config.auth.jwt
                if "://" not in one.jwks
            },
            self.prices,
        )

    def _put(self, where: Where, origin: str, value: object) -> None:
        stale = [place for place in self.places if place[: len(where)] == where]
        for place in stale:
            del self.places[place]
        self.places[where] = (origin, None)
        inner: Any = self.values
        for part in where[:-1]:
            inner = inner.setdefault(part, {})
        if isinstance(inner, dict):
            inner[where[-1]] = value

    def _resolve(self, value: Any, where: Where) -> Any:
        if isinstance(value, dict):
            return {name: self._resolve(item, (*where, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [self._resolve(item, (*where, index)) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        try:
            if wording.is_secret(where) and value.startswith("file:"):
                return self._secret_file(value.removeprefix("file:"))
            resolved = expand(value, self.environ, self._secret_file)
        except UnresolvedError as error:
            self.spoilt.add(where)
            self._problem(where, str(error))
            return value
        if resolved != value:
            self.written[where] = value
        return resolved

    def _secret_file(self, name: str) -> str:
        return _text(self.base / name).rstrip("\r\n")

    def _pem_paths(self) -> Iterator[tuple[Where, Path]]:
        listen = self.values.get("listen")
        tls = listen.get("tls") if isinstance(listen, dict) else None
        if isinstance(tls, dict):
            for name in ("certificate", "key"):
                if isinstance(tls.get(name), str):
                    yield ("listen", "tls", name), self.base / tls[name]
        backends = self.values.get("backends")
        for index, backend in enumerate(backends if isinstance(backends, list) else []):
            if isinstance(backend, dict) and isinstance(backend.get("ca"), str):
                yield ("backends", index, "ca"), self.base / backend["ca"]

    def _jwks_paths(self) -> Iterator[tuple[Where, Path]]:
        auth = self.values.get("auth")
        issuers = auth.get("jwt") if isinstance(auth, dict) else None
        for index, issuer in enumerate(issuers if isinstance(issuers, list) else []):
            jwks = issuer.get("jwks") if isinstance(issuer, dict) else None
            if isinstance(jwks, str) and jwks.isprintable() and "://" not in jwks:
                yield ("auth", "jwt", index, "jwks"), self.base / jwks

    def _try(
        self, where: Where, path: Path, read: Callable[[Path], Any], kept: dict[Path, Any]
    ) -> None:
        try:
            kept[path] = read(path)
        except UnresolvedError as error:
            self._problem(where, str(error))

    def _tokenizer_names(self) -> Iterator[tuple[Where, str]]:
        models = self.values.get("models")
        for index, model in enumerate(models if isinstance(models, list) else []):
            name = model.get("tokenizer") if isinstance(model, dict) else None
            if isinstance(name, str) and name and name.isprintable():
                built_in = name in ENCODINGS
                yield ("models", index, "tokenizer"), name if built_in else str(self.base / name)

    def _try_tokenizer(self, where: Where, name: str) -> None:
        """It is loaded, which is what the engine will do, and kept for that."""
        try:
            tokens.count("", name)
        except ValueError as error:
            self._problem(where, str(error))

    def _profile_names(self) -> Iterator[tuple[Where, str]]:
        """The usual one first."""
        hosts = self.values.get("hosts")
        named: list[tuple[Where, Any]] = [(("profile",), self.values.get("profile", "openai"))]
        for index, host in enumerate(hosts if isinstance(hosts, list) else []):
            if isinstance(host, dict):
                named.append((("hosts", index, "profile"), host.get("profile")))
        for where, name in named:
            if isinstance(name, str):
                in_a_file = name.endswith((".yaml", ".yml"))
                yield where, str(self.base / name) if in_a_file else name

    def _try_profile(self, where: Where, name: str) -> None:
        if name in self.tried:
            return
        self.tried.add(name)
        try:
            self.made[name] = profiles.make(name)
        except profiles.ProfileError as error:
            for problem in error.problems:
                if problem.line is None:
                    self._problem(where, problem.message)
                else:
                    self.problems.append(problem)

    def _try_origins(self) -> None:
        cors = self.values.get("cors")
        origins = cors.get("origins") if isinstance(cors, dict) else None
        if not isinstance(origins, list) or "*" not in origins:
            return
        for made in self.made.values():
            if not made.any_origin:
                message = f"'*' is any origin, which the profile {made.form['name']} rules out"
                self._problem(("cors", "origins"), message, "name the origins that may ask")

    def _try_prices(self) -> None:
        named = self.values.get("prices")
        if not isinstance(named, str) or not named.isprintable():
            return
        try:
            self.prices = price_file.read(str(self.base / named), _text(self.base / named))
        except UnresolvedError as error:
            self._problem(("prices",), str(error))
        except ConfigProblems as error:
            self.problems += error.problems

    def _problem(self, where: Where, message: str, hint: str | None = None) -> None:
        near = where
        while near not in self.places:
            near = near[:-1]
        file, line = self.places[near]
        self.problems.append(Problem(file, line, spell(where), message, hint))

    def _explain(self, errors: list[ErrorDetails]) -> None:
        meant = set()
        for error in errors:
            if error["type"] == "extra_forbidden":
                message, hint = wording.sentence(error, self.written)
                meant.add((error["loc"][:-1], hint))
                self._problem(error["loc"], message, hint)
        for error in errors:
            if error["type"] != "extra_forbidden" and not self._follows(error, meant):
                self._problem(error["loc"], *wording.sentence(error, self.written))
        for where, message in contradictions(self.values):
            self._problem(where, message)

    def _follows(self, error: ErrorDetails, meant: set[tuple[Where, str | None]]) -> bool:
        """Whether an error only repeats one that is already told."""
        where, kind = error["loc"], error["type"]
        if not where or (kind == "too_short" and error["input"]):
            return True
        misspelt = kind == "missing" and (where[:-1], f"did you mean '{where[-1]}'?") in meant
        return misspelt or any(where[: len(bad)] == bad for bad in self.spoilt)
