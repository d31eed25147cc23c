"""The kinds of value a setting may have: each judges one word and says what is wrong with it.

Pure; a kind never repeats the word it refuses, for it may be a secret.
"""

import base64
import ipaddress
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo

# The tokenizers that are built in, by OpenAI's names.
ENCODINGS = ("o200k_base", "cl100k_base")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_PATTERN = re.compile(r"(\*\.)?[a-z0-9_-][a-z0-9._-]{0,252}")
_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?"
)
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")


def duration(text: str) -> float:
    """Seconds of "2", "2s", "500ms", "10m", "1h" or "30d"; ValueError for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("is not a duration such as 2, 2s, 500ms, 10m, 1h or 30d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _seconds(value: object) -> object:
    return duration(value) if isinstance(value, str) else _no_bool(value)


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("is not a number")
    return value


def _label(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("is not a name of 1 to 64 letters, digits, '.', '_' or '-'")
    return value


def _model_name(value: str) -> str:
    if not 1 <= len(value) <= 256 or not value.isprintable() or value != value.strip():
        raise ValueError("is not a model name of 1 to 256 printable characters")
    return value


def _host(value: str) -> str:
    bare = value.removeprefix("[").removesuffix("]")
    if not _HOST.fullmatch(value) and not _HOST.fullmatch(f"[{value}]"):
        raise ValueError("is not a host name or an address")
    if ":" in bare:
        _address(bare)
    return bare


def _pattern(value: str) -> str:
    """A name as clients ask for it: a port and the dot of the root say nothing of it."""
    name = value.lower()
    if not _PATTERN.fullmatch(name) and not (name.startswith("[") and _HOST.fullmatch(name)):
        raise ValueError("is not a host name without a port, such as api.example or *.example")
    return name.removesuffix(".")


def _origin(value: str) -> str:
    """An origin as browsers send it: in lower case, without the port of its scheme."""
    origin = value.lower()
    if origin != "*" and not _ORIGIN.fullmatch(origin):
        raise ValueError("is not an origin such as https://app.example or '*'")
    return re.sub(r"(?<=^https)(.*):443$|(?<=^http)(.*):80$", r"\1\2", origin)


def _address(value: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("is not a host name or an address") from None


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError("is not an address or a network such as 10.0.0.0/8") from None


def _url(value: str) -> str:
    if not re.match(r"https?://", value, re.IGNORECASE):
        raise ValueError("is not http:// or https://")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL with a host and a port from 1 to 65535") from None
    if "@" in parts.netloc:
        raise ValueError("has a user in it; a backend is given a 'key' instead")
    if "?" in value or "#" in value:
        raise ValueError("has a query or a fragment")
    host = re.sub(r":[0-9]*\Z", "", parts.netloc)
    if not _HOST.fullmatch(host) or port == 0 or not _PATH.fullmatch(parts.path):
        raise ValueError("is not a URL with a host and a port from 1 to 65535")
    if host.startswith("["):
        _address(host[1:-1])
    place = host if port is None else f"{host}:{port}"
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}"


def _sendable(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]{1,4096}", value.get_secret_value()):
        raise ValueError("is empty, too long, or holds a space or a character outside ASCII")
    return value


def _store_url(value: SecretStr) -> SecretStr:
    """An address as PostgreSQL's own tools take it, options after '?' included."""
    text = value.get_secret_value()
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("postgresql", "postgres") and parts.port != 0
    except ValueError:
        right = False
    if not right or not re.fullmatch(r"[!-~]{1,4096}", text) or "#" in text:
        raise ValueError(
            "is not an address such as postgresql://user:password@host:5432/name, in which a "
            "'/', '@', ':' or '#' of the password is written %2F, %40, %3A, %23"
        )
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    """An address as Redis's own tools take it."""
    text = value.get_secret_value()
    try:
        parts = urlsplit(text)
        right = parts.scheme == "redis" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or not re.fullmatch(r"redis://[!-.0-~]{1,4096}(/[0-9]{0,4})?", text):
        raise ValueError(
            "is not an address such as redis://user:password@host:6379/0, in which a '/', '@', "
            "':' or '#' of the password is written %2F, %40, %3A, %23"
        )
    return value


def _pepper(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value.get_secret_value()):
        raise ValueError("is not 64 hexadecimal digits")
    return value


def _beside(value: Path, info: ValidationInfo) -> Path:
    """A path in a file is relative to that file; the loader names its folder as `base`."""
    if not str(value).isprintable():
        raise ValueError("is not a path")
    base: Path = (info.context or {}).get("base", Path())
    return base / value


def _with_query(value: str) -> str:
    """An address as it stands, which may have a query."""
    address, _, query = value.partition("?")
    _url(address)
    if not re.fullmatch(r"[!-~]*", query) or "#" in query:
        raise ValueError("is not a URL with a host and a port from 1 to 65535")
    return value


def _webhook_secret(value: SecretStr) -> SecretStr:
    """A secret as Standard Webhooks writes it: 24 to 64 bytes."""
    try:
        key = base64.b64decode(value.get_secret_value().removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError("is not whsec_ and 24 to 64 bytes in base64; openssl rand -base64 32")
    return value


def _key_source(value: str, info: ValidationInfo) -> str:
    """An address, which may have a query, or a file beside the configuration."""
    return _with_query(value) if "://" in value else str(_beside(Path(value), info))


def _profile(value: str, info: ValidationInfo) -> str:
    """The name of a built-in profile, or a file beside the configuration."""
    return str(_beside(Path(value), info)) if value.endswith((".yaml", ".yml")) else value


def _tokenizer(value: str, info: ValidationInfo) -> str:
    """The name of a built-in encoding, or a file beside the configuration."""
    return value if value in ENCODINGS else str(_beside(Path(value), info))


Seconds = Annotated[float, BeforeValidator(_seconds), Field(json_schema_extra={"unit": "s"})]
Count = Annotated[int, BeforeValidator(_no_bool)]
Number = Annotated[float, BeforeValidator(_no_bool)]
Label = Annotated[str, AfterValidator(_label)]
ModelName = Annotated[str, AfterValidator(_model_name)]
Host = Annotated[str, AfterValidator(_host)]
HostPattern = Annotated[str, AfterValidator(_pattern)]
Origin = Annotated[str, AfterValidator(_origin)]
Network = Annotated[str, AfterValidator(_network)]
Url = Annotated[str, AfterValidator(_url)]
Secret = Annotated[SecretStr, AfterValidator(_sendable)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]
StoreUrl = Annotated[SecretStr, AfterValidator(_store_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
Pepper = Annotated[SecretStr, AfterValidator(_pepper)]
FilePath = Annotated[Path, AfterValidator(_beside)]
ClaimText = Annotated[str, Field(min_length=1, max_length=1024)]
Address = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_with_query)]
KeySource = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_key_source)]
TokenizerName = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_tokenizer)]
ProfileName = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_profile)]
