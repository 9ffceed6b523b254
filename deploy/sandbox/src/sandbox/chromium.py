"""A Chromium to look at the console with: the machine's own, else Debian's, unpacked privately.

A private one brings its libraries and a font along; fontconfig reads a file of ours, which names the fonts of
the machine and those beside it.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from sandbox.debian_packages import library_path, unpack
from sandbox.errors import Missing

_NAMES = ("chromium", "chromium-browser")
_FONTS = "fonts-dejavu-core"


class Chromium(msgspec.Struct, frozen=True, kw_only=True):
    """A browser that can be started."""

    program: Path
    environment: dict[str, str]
    """What it has to be started with."""


def chromium(packages: Path, report: Callable[[str], None], path: str | None = None) -> Chromium:
    """Chromium from `path` (PATH where it is None), or from a private tree in `packages`. Raises Missing."""
    installed = next((found for name in _NAMES if (found := shutil.which(name, path=path))), None)
    if installed:
        return Chromium(program=Path(installed), environment=dict(os.environ))
    tree = packages / "chromium"
    try:
        unpack("chromium", tree, own=("chromium",), beside=(_FONTS,), report=report)
    except Missing as reason:
        raise Missing(
            f"no Chromium: {reason}. Install it (Debian: apt-get install chromium {_FONTS})"
        ) from reason
    return Chromium(
        program=tree / "usr" / "lib" / "chromium" / "chromium",
        environment={
            **os.environ,
            "LD_LIBRARY_PATH": ":".join((library_path(tree), *_private_libraries(tree))),
            "FONTCONFIG_FILE": str(_write_font_configuration(tree)),
            "XDG_DATA_DIRS": f"{tree / 'usr' / 'share'}:/usr/local/share:/usr/share",
        },
    )


# A library that only its own package uses lies in a directory of that package, named inside of it.
def _private_libraries(tree: Path) -> list[str]:
    return sorted({str(library.parent) for library in tree.glob("usr/lib/*-linux-gnu/*/lib*.so*")})


def _write_font_configuration(tree: Path) -> Path:
    cache = tree / "var" / "cache" / "fontconfig"
    cache.mkdir(parents=True, exist_ok=True)
    written = tree / "etc" / "fonts" / "flotilla.conf"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(
        '<?xml version="1.0"?>\n<fontconfig>\n'
        f"  <dir>{tree / 'usr' / 'share' / 'fonts'}</dir>\n  <dir>/usr/share/fonts</dir>\n"
        f"  <cachedir>{cache}</cachedir>\n"
        # Whatever a page asks for and nobody has is shown in the one font that is here for certain.
        + "".join(
            f'  <match target="pattern"><test name="family"><string>{asked}</string></test>'
            f'<edit name="family" mode="append_last"><string>{font}</string></edit></match>\n'
            for asked, font in (("monospace", "DejaVu Sans Mono"), ("sans-serif", "DejaVu Sans"))
        )
        + '  <match target="pattern"><edit name="family" mode="append_last">'
        "<string>DejaVu Sans</string></edit></match>\n" + "</fontconfig>\n",
        encoding="utf-8",
    )
    return written
