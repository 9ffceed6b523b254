"""Each image holds what its service needs and nothing else, and starts as nobody on a tree it cannot change.

Without an engine: the sync steps of each Dockerfile run in a directory that holds what it copies.
"""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from secrets import token_hex

import httpx
import pytest
from tests.images import dockerfile
from tests.processes import soon

from sandbox.ports import free_port

CHECKOUT = Path(__file__).parents[2]
IMAGES = {
    each.name: each
    for each in map(dockerfile.read, sorted((CHECKOUT / "deploy/images").glob("*.Dockerfile")))
}
SERVING = ("api", "exit-strategy", "inference", "trainer")
NOBODY = 10001
LEARNING = (
    "xgboost",
    "sklearn",
    "scipy",
    "polars",
    "pyarrow",
    "onnxmltools",
    "skl2onnx",
    "joblib",
    "cloudpickle",
)
SERVING_MODELS = ("onnxruntime", "numpy")
ABSENT = {
    "api": (*LEARNING, *SERVING_MODELS, "sandbox"),
    "exit-strategy": (*LEARNING, *SERVING_MODELS, "litestar", "plotly", "sandbox"),
    "inference": (*LEARNING, "litestar", "plotly", "sandbox"),
    "migrate": (*LEARNING, *SERVING_MODELS, "litestar", "sandbox"),
    "trainer": ("litestar", "plotly", "nvidia", "sandbox"),
    "sandbox": ("xgboost", "sklearn", "onnxruntime", "alembic"),
}


@pytest.fixture(scope="module")
def installed():
    """Installs an image's packages as its Dockerfile does, once: `installed("api")` is its /app."""
    home = Path(tempfile.mkdtemp(prefix="flotilla-images-"))
    home.chmod(0o755)
    built = {}

    def build(name):
        if name not in built:
            built[name] = _installed(IMAGES[name], home / name)
        return built[name]

    yield build
    shutil.rmtree(home)


def _installed(image, home):
    home.mkdir()
    app, source = home / "app", home / "src"
    environment = {
        **os.environ,
        **image.build_arguments(),
        "UV_PROJECT_ENVIRONMENT": str(app),
        "UV_PYTHON": _python_for_everybody(),
        "UV_LINK_MODE": "clone",
        "UV_COMPILE_BYTECODE": "0",
    }
    uv = subprocess.check_output([sys.executable, CHECKOUT / "deploy/bootstrap.py"], text=True).strip()
    steps = iter(image.installs())
    for name, arguments in image.stages[0].instructions:
        if name == "COPY":
            dockerfile.copy(arguments, CHECKOUT, source)
        elif name == "RUN" and arguments.startswith("uv "):
            done = subprocess.run(
                [uv, *next(steps)[1:], "--quiet"],
                check=False,
                cwd=source,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
    shutil.rmtree(source)
    for path in (app, *app.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222 | 0o444)
    return app


# The interpreter of these tests may lie in a home directory that nobody else may enter.
def _python_for_everybody():
    for candidate in (Path(sys.executable).resolve(), Path("/usr/bin/python3").resolve()):
        if candidate.exists() and all(parent.stat().st_mode & stat.S_IXOTH for parent in candidate.parents):
            return str(candidate)
    pytest.fail("no Python that every user may run: install Debian's python3 and python3-venv")


def _started(image, app, told, **variables):
    who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    own = {name: value for name, value in image.environment().items() if name != "PATH"}
    with told.open("wb") as output:
        return subprocess.Popen(
            [app / "bin/python", *image.command()[1:]],
            env={**own, "LISTEN_HOST": "127.0.0.1", "PATH": "/usr/bin:/bin", **variables},
            cwd="/",
            stdout=output,
            stderr=output,
            **who,
        )


@pytest.mark.parametrize("name", IMAGES)
def test_a_linter_finds_nothing_to_say(name):
    linted = subprocess.run(
        [Path(sys.executable).parent / "hadolint", IMAGES[name].path],
        check=False,
        capture_output=True,
        text=True,
    )

    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("name", IMAGES)
def test_it_runs_as_nobody_and_says_whether_it_lives(name):
    image = IMAGES[name]

    assert image.runs.all_of("USER") == [f"{NOBODY}:{NOBODY}"]
    assert len(image.runs.all_of("HEALTHCHECK")) == 1
    assert "org.opencontainers.image.revision" in image.runs.all_of("LABEL")[0]


def test_uv_is_the_one_of_every_checkout():
    [pinned] = {image.build_arguments()["UV_VERSION"] for image in IMAGES.values()}

    assert f'UV_VERSION = "{pinned}"' in (CHECKOUT / "deploy/bootstrap.py").read_text()


def test_the_context_holds_what_is_copied_and_no_secrets():
    allowed = {
        line.removeprefix("!")
        for line in (CHECKOUT / ".dockerignore").read_text().splitlines()
        if line[:1] == "!"
    }
    for image in IMAGES.values():
        for arguments in image.stages[0].all_of("COPY"):
            for name in arguments.split()[:-1]:
                assert any(name == each or name.startswith(f"{each}/") for each in allowed), name
    assert not {".env", ".git", ".flotilla"} & allowed


@pytest.mark.parametrize("name", IMAGES)
def test_it_holds_what_it_needs_and_nothing_of_others(installed, name):
    app = installed(name)
    [packages] = app.glob("lib/python3*/site-packages")
    module = IMAGES[name].command()[2]

    subprocess.run([app / "bin/python", "-c", f"import {module}.__main__"], check=True, cwd="/")
    assert not [each for each in ABSENT[name] if (packages / each).exists()]
    assert not list(packages.glob("*.pth")), "installed from the checkout, not copied"
    _note_size(name, app)


@pytest.mark.parametrize("name", SERVING)
def test_a_service_lives_as_nobody_on_a_tree_that_it_cannot_change(installed, name, tmp_path):
    image, app = IMAGES[name], installed(name)
    [port] = image.runs.all_of("EXPOSE")
    [variable] = [
        each
        for each in json.loads(image.runs.all_of("HEALTHCHECK")[0].partition(" CMD ")[2])
        if "PORT" in each
    ]
    listening = free_port()
    process = _started(
        image,
        app,
        tmp_path / "told",
        **{variable: str(listening)},
        DATABASE_URL=f"postgresql://flotilla:{token_hex(16)}@127.0.0.1:1/flotilla",
        RABBITMQ_URL=f"amqp://flotilla:{token_hex(16)}@127.0.0.1:1/",
        MODEL_SERVICE_API_KEY=token_hex(32),
        FEATURE_SERVICE_API_KEY=token_hex(32),
        POSITION_MANAGER_API_KEY=token_hex(32),
        WS_GATEWAY_API_KEY=token_hex(32),
    )
    try:
        assert soon(lambda: process.poll() is not None or _alive(app, variable, listening), 60)
        assert process.poll() is None, (tmp_path / "told").read_text()
        assert 4500 <= int(port) <= 4503
        assert httpx.get(f"http://127.0.0.1:{listening}/health/ready").status_code == 503
    finally:
        process.terminate()
        assert process.wait(20) in (0, -signal.SIGTERM)


def test_the_schema_job_says_what_it_misses(installed, tmp_path):
    job = _started(
        IMAGES["migrate"],
        installed("migrate"),
        tmp_path / "told",
        DATABASE_URL=f"postgresql://flotilla:{token_hex(16)}@127.0.0.1:1/x",
    )

    assert job.wait(60) == 1
    assert "start it, or correct DATABASE_URL" in (tmp_path / "told").read_text()


def test_every_variable_of_an_image_is_a_setting():
    known = (CHECKOUT / ".env.example").read_text()
    for image in IMAGES.values():
        for name in image.environment():
            assert name in ("PATH", "PYTHONUNBUFFERED") or f"#{name}=" in known


def test_an_image_for_every_package_that_runs():
    workspace = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]["members"]
    places = [
        place
        for member in workspace
        for place in CHECKOUT.glob(member)
        if (place / "pyproject.toml").exists()
    ]
    copied = {
        each.split()[-1].rstrip("/") for image in IMAGES.values() for each in image.stages[0].all_of("COPY")
    }

    assert {str(place.relative_to(CHECKOUT)) for place in places} <= copied


def _alive(app, variable, port):
    asked = subprocess.run(
        [app / "bin/python", "-m", "common.alive", variable, "1"],
        check=False,
        env={variable: str(port)},
        cwd="/",
    )
    return asked.returncode == 0


def _note_size(name, app):
    size = sum(path.lstat().st_size for path in app.rglob("*") if path.is_file() and not path.is_symlink())
    kept = CHECKOUT / ".flotilla/image-sizes.json"
    sizes = json.loads(kept.read_text()) if kept.exists() else {}
    kept.write_text(json.dumps({**sizes, name: round(size / 1e6)}, indent=1, sort_keys=True) + "\n")
