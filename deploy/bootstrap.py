"""Bootstrap: where is this checkout's own uv?

Prints the path of `.flotilla/uv/bin/uv`; installs the pinned version first if it is not there.
Needs only the system's python3 and changes nothing outside `.flotilla`. Whatever pip can be
found does the installing: python3's own, the wheel that ships with ensurepip, or Debian's
`python3-pip-whl`, fetched and unpacked privately. Parses under any Python 3.6+, so that a
too old one gets a sentence and not a SyntaxError.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Iterator, List, Tuple  # noqa: UP035

UV_VERSION = "0.13.9"
OLDEST_PYTHON = (3, 11)
CHECKOUT = Path(__file__).resolve().parents[1]


class CannotBootstrap(Exception):
    """uv cannot be installed on this machine; the message says what to install."""


def main() -> int:
    """Print uv's path to stdout, or the reason why there is none to stderr."""
    try:
        print(ensure_uv(CHECKOUT / ".flotilla"))
    except CannotBootstrap as reason:
        print(f"flotilla: {reason}", file=sys.stderr)
        return 1
    return 0


def ensure_uv(home: Path, version: Tuple[int, ...] = sys.version_info[:3]) -> Path:  # noqa: UP006
    """`home`/uv/bin/uv exists afterwards, in the pinned version. Raises CannotBootstrap."""
    if version[:2] < OLDEST_PYTHON:
        found, wanted = (".".join(map(str, v[:2])) for v in (version, OLDEST_PYTHON))
        raise CannotBootstrap(
            f"needs Python {wanted} or newer, but {sys.executable} is {found}. "
            f"Install a newer python3, or name one: make PYTHON=/path/to/python{wanted} ..."
        )
    if not _is_installed(home / "uv"):
        home.mkdir(parents=True, exist_ok=True)
        _install(home)
    return home / "uv" / "bin" / "uv"


def _is_installed(target: Path) -> bool:
    return (target / f"uv-{UV_VERSION}.dist-info").is_dir() and os.access(str(target / "bin" / "uv"), os.X_OK)


def _install(home: Path) -> None:
    print(f"flotilla: installing uv {UV_VERSION} into {home / 'uv'}", file=sys.stderr)
    failures: List[str] = []  # noqa: UP006
    with tempfile.TemporaryDirectory(dir=str(home), prefix="uv-") as work:
        fresh = Path(work) / "uv"
        for way, pip in _pips(home, failures):
            failure = _pip_install(pip, fresh)
            if failure is None:
                _put_in_place(fresh, home / "uv")
                return
            failures.append(f"{way}: {failure}")
    raise CannotBootstrap(
        f"cannot install uv {UV_VERSION}. Tried:\n  - "
        + "\n  - ".join(failures)
        + "\nInstall pip (Debian: apt-get install python3-pip) and check that pip reaches its registry."
    )


def _pips(home: Path, failures: List[str]) -> Iterator[Tuple[str, List[str]]]:  # noqa: UP006
    if importlib.util.find_spec("pip"):
        yield "python3 -m pip", [sys.executable, "-m", "pip"]
    else:
        failures.append("python3 -m pip: this python3 has no pip")
    bundled = _bundled_wheels()
    for wheel in bundled:
        yield f"pip from {wheel}", [sys.executable, f"{wheel}/pip"]
    if not bundled:
        failures.append("ensurepip: this python3 has no bundled pip wheel")
    try:
        wheel = _debian_wheel(home)
    except CannotBootstrap as reason:
        failures.append(f"Debian's python3-pip-whl: {reason}")
    else:
        yield "pip from Debian's python3-pip-whl", [sys.executable, f"{wheel}/pip"]


def _bundled_wheels() -> List[Path]:  # noqa: UP006
    ensurepip = importlib.util.find_spec("ensurepip")
    if ensurepip is None or ensurepip.origin is None:
        return []
    places = [Path(ensurepip.origin).parent / "_bundled"]
    shared = sysconfig.get_config_var("WHEEL_PKG_DIR")
    if shared:
        places.append(Path(shared))
    return [wheel for place in places for wheel in sorted(place.glob("pip-*.whl"))]


def _debian_wheel(home: Path) -> Path:
    sys.path.insert(0, str(CHECKOUT / "deploy" / "sandbox" / "src"))
    from sandbox.debian_packages import unpack  # noqa: PLC0415 - needs Python 3.11, which is checked by now
    from sandbox.errors import SetupError  # noqa: PLC0415

    unpacked = home / "packages" / "pip"
    try:
        unpack(
            "python3-pip-whl",
            unpacked,
            own=("python3-pip-whl",),
            report=lambda line: print(f"flotilla: {line}", file=sys.stderr),
        )
    except SetupError as reason:
        raise CannotBootstrap(str(reason)) from reason
    wheels = sorted(unpacked.glob("usr/share/python-wheels/pip-*.whl"))
    if not wheels:
        raise CannotBootstrap(f"{unpacked} holds no pip wheel")
    return wheels[0]


def _pip_install(pip: List[str], target: Path) -> "str | None":  # noqa: UP006
    command = [
        *pip,
        "install",
        "--quiet",
        "--no-deps",
        "--no-input",
        "--only-binary=:all:",
        "--no-warn-script-location",
    ]
    command += ["--target", str(target), f"uv=={UV_VERSION}"]
    environment = {
        **os.environ,
        "PIP_USER": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode == 0 and _is_installed(target):
        return None
    shutil.rmtree(str(target), ignore_errors=True)
    said = done.stdout.decode(errors="replace").strip().splitlines()
    return said[-1] if said else f"exit status {done.returncode}"


def _put_in_place(fresh: Path, target: Path) -> None:
    if not _is_installed(target):  # a second bootstrap may have been faster
        shutil.rmtree(str(target), ignore_errors=True)
        os.replace(str(fresh), str(target))


if __name__ == "__main__":
    sys.exit(main())
