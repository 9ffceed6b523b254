"""A Dockerfile, read and followed without an engine: what it copies, what it installs, what it starts."""

import json
import re
import shlex
import shutil
import string
from pathlib import Path

import msgspec


class Stage(msgspec.Struct, kw_only=True):
    """What one FROM begins."""

    name: str
    instructions: list[tuple[str, str]]
    """Name and arguments, in order."""

    def all_of(self, name: str) -> list[str]:
        return [arguments for each, arguments in self.instructions if each == name]


class Dockerfile(msgspec.Struct, kw_only=True):
    """The stages of an image; the last one is what runs."""

    path: Path
    stages: list[Stage]

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(".Dockerfile")

    @property
    def runs(self) -> Stage:
        return self.stages[-1]

    def build_arguments(self) -> dict[str, str]:
        """ARG and ENV of the build stage."""
        given = [*self.stages[0].all_of("ARG"), *self.stages[0].all_of("ENV")]
        return dict(pair.split("=", 1) for arguments in given for pair in shlex.split(arguments))

    def command(self) -> list[str]:
        """ENTRYPOINT and CMD."""
        return [
            word
            for name in ("ENTRYPOINT", "CMD")
            for form in self.runs.all_of(name)
            for word in json.loads(form)
        ]

    def environment(self) -> dict[str, str]:
        """ENV of what runs."""
        return dict(
            pair.split("=", 1) for arguments in self.runs.all_of("ENV") for pair in shlex.split(arguments)
        )

    def installs(self) -> list[list[str]]:
        """The sync steps, each with the sources that were copied before it: see `follow`."""
        arguments = self.build_arguments()
        return [
            shlex.split(string.Template(line).substitute(arguments))
            for line in self.stages[0].all_of("RUN")
            if line.startswith("uv ")
        ]


def read(path: Path) -> Dockerfile:
    """The file, as its stages."""
    text = re.sub(
        r"\\\n\s*", "", "\n".join(line for line in path.read_text().splitlines() if line[:1] != "#")
    )
    stages: list[Stage] = []
    for line in filter(None, text.splitlines()):
        name, _, arguments = line.partition(" ")
        if name == "FROM":
            stages.append(Stage(name=arguments.partition(" AS ")[2], instructions=[]))
        elif stages:
            stages[-1].instructions.append((name, arguments.strip()))
    return Dockerfile(path=path, stages=stages)


def copy(arguments: str, source: Path, target: Path) -> None:
    """What one COPY of the build stage brings from the checkout lies in `target` afterwards."""
    *names, to = shlex.split(arguments)
    for name in names:
        place = target / to / Path(name).name if to.endswith("/") or to == "./" else target / to
        place.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source / name, place, dirs_exist_ok=True, ignore=ignored)
        else:
            shutil.copy(source / name, place)
