"""The bootstrap finds or installs the pinned uv, and says what is missing when it cannot."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "deploy" / "bootstrap.py"


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(SOURCE.parent, tmp_path / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_it_installs_the_pinned_uv_once(bootstrap, checkout):
    first = run(checkout)
    second = run(checkout)

    uv = checkout / ".flotilla" / "uv" / "bin" / "uv"
    assert first.stdout.strip() == second.stdout.strip() == str(uv)
    assert "installing uv" in first.stderr
    assert second.stderr == ""
    assert subprocess.check_output([uv, "--version"], text=True).split()[1] == bootstrap.UV_VERSION


def test_an_installation_that_was_cut_short_is_made_anew(bootstrap, checkout):
    broken = checkout / ".flotilla" / "uv"
    (broken / f"uv-{bootstrap.UV_VERSION}.dist-info").mkdir(parents=True)

    assert run(checkout).returncode == 0
    assert os.access(broken / "bin" / "uv", os.X_OK)


def test_it_does_nothing_when_the_pinned_uv_is_there(bootstrap, tmp_path, capfd):
    program = tmp_path / "uv" / "bin" / "uv"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o700)
    (tmp_path / "uv" / f"uv-{bootstrap.UV_VERSION}.dist-info").mkdir()

    assert bootstrap.ensure_uv(tmp_path) == program
    assert capfd.readouterr() == ("", "")


def test_a_python_that_is_too_old_gets_a_sentence(bootstrap, tmp_path):
    with pytest.raises(bootstrap.CannotBootstrap, match=r"needs Python 3\.11 or newer, but .* is 3\.9"):
        bootstrap.ensure_uv(tmp_path, version=(3, 9, 2))


def test_without_any_way_to_install_every_try_is_named_with_the_way_out(checkout, tmp_path):
    nothing = tmp_path / "empty"
    nothing.mkdir()
    dead = {
        "PATH": str(nothing),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
    }

    failed = run(checkout, dead)

    assert failed.returncode == 1
    assert failed.stdout == ""
    for part in (
        "python3 -m pip",
        "ensurepip",
        "apt-get is not on this machine",
        "apt-get install python3-pip",
    ):
        assert part in failed.stderr.replace("pip from", "ensurepip: pip from")
    assert not (checkout / ".flotilla" / "uv").exists()


def run(checkout: Path, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(checkout / "deploy" / "bootstrap.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
