"""The judges' own environments in `.cache/conformance`, as the committed lists pin them. The only
file that downloads.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "conformance"
SETUP_SECONDS = 600.0


def prepare() -> None:
    """Makes all that is not there yet, before anything is timed."""
    if shutil.which("npm") is None:
        raise SystemExit("npm is needed, of Node.js 20 or newer")
    python("judges")
    openai_sources()
    node_modules()


def python(name: str) -> Path:
    """The interpreter of the environment that `requirements/conformance-NAME.txt` describes."""
    pinned = ROOT / "requirements" / f"conformance-{name}.txt"
    folder = CACHE / name
    if not is_made_of(folder, pinned):
        print(f"== setting up {folder.relative_to(ROOT)}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        run(folder / "bin" / "pip", "install", "--quiet", "--require-hashes", "-r", pinned)
        note(folder, pinned)
    return folder / "bin" / "python"


def node_modules() -> Path:
    """The packages of `package-lock.json`."""
    here = Path(__file__).parent
    lock = here / "package-lock.json"
    folder = CACHE / "npm"
    if not is_made_of(folder, lock):
        print(f"== setting up {folder.relative_to(ROOT)}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(here / name, folder)
        run("npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
        note(folder, lock)
    return folder / "node_modules"


def openai_sources() -> Path:
    """The unpacked source package of openai-python, which has its tests."""
    interpreter = python("openai")
    pinned = ROOT / "requirements" / "conformance-openai.txt"
    folder = CACHE / "openai-sources"
    if not is_made_of(folder, pinned):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        only = folder / "openai.txt"
        only.write_text(requirement(pinned, "openai"))
        pip = (interpreter, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps")
        source = ("--no-binary", "openai", "--no-build-isolation", "--dest", folder, "-r", only)
        run(*pip, *source)
        (archive,) = folder.glob("openai-*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        note(folder, pinned)
    (sources,) = (path for path in folder.glob("openai-*") if path.is_dir())
    return sources


def requirement(pinned: Path, package: str) -> str:
    """One package's lines of a requirement file: the version and the hashes below it."""
    lines = pinned.read_text().splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith(f"{package}=="))
    last = next(at for at in range(first, len(lines)) if not lines[at].endswith("\\"))
    return "\n".join(lines[first : last + 1]) + "\n"


def is_made_of(folder: Path, pinned: Path) -> bool:
    stamp = folder / ".made-of"
    return stamp.exists() and stamp.read_text() == digest(pinned)


def note(folder: Path, pinned: Path) -> None:
    """Written last: a folder without it is made anew."""
    (folder / ".made-of").write_text(digest(pinned))


def digest(pinned: Path) -> str:
    return hashlib.sha256(pinned.read_bytes() + sys.version.encode()).hexdigest()


def run(*command: str | Path, cwd: Path | None = None) -> None:
    subprocess.run([str(word) for word in command], cwd=cwd, check=True, timeout=SETUP_SECONDS)
