"""Other people's packages: installed by pip into a virtual environment of their own, which sees ours."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import imprint

Groups = Mapping[str, Mapping[str, str]]
# Of the outer environment: where Imprint itself is, and what it needs.
OUTER = (Path(imprint.__file__).parents[1], *map(Path, {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))


@dataclass(frozen=True)
class Venv:
    """A virtual environment: its interpreter, and the folder that packages are installed into."""

    python: Path
    site: Path

    def run(self, *arguments: str | Path, folder: str | Path = sys.prefix) -> subprocess.CompletedProcess[str]:
        """What its interpreter says in `folder`, with nothing on its path that was not installed."""
        own = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        return _said([str(self.python), *map(str, arguments)], own, folder)


def outer(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What the interpreter of the environment we are in says."""
    return _said([sys.executable, *map(str, arguments)], os.environ)


def _said(
    command: Sequence[str], environment: Mapping[str, str], folder: str | Path = sys.prefix
) -> subprocess.CompletedProcess[str]:
    # `-m` puts the current folder on the path: it is one without packages.
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def install(project: Path, folder: Path) -> Venv:
    """A new virtual environment in `folder` into which pip has installed `project`; no network is asked."""
    made = _empty(folder)
    _show(made, OUTER)
    _pip_install(made, project)
    return made


def install_wheel(wheel: Path, folder: Path) -> Venv:
    """The same with a wheel of Imprint: our environment's packages are seen there, and this checkout is not."""
    made = _empty(folder)
    _pip_install(made, wheel)
    _show(made, OUTER[1:])
    return made


def build_wheel(project: Path, folder: Path) -> Path:
    """The wheel of `project`, built in `folder`."""
    done = outer("-m", "pip", "wheel", "-q", "--no-index", "--no-deps", "--no-build-isolation", "-w", folder, project)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def _empty(folder: Path) -> Venv:
    venv.create(folder, symlinks=True)
    places = {"base": str(folder), "platbase": str(folder)}
    return Venv(folder / "bin" / "python", Path(sysconfig.get_path("purelib", "venv", places)))


def _show(made: Venv, places: Sequence[Path]) -> None:
    (made.site / "outer.pth").write_text("".join(f"{place}\n" for place in places), encoding="utf-8")


def _pip_install(made: Venv, what: Path) -> None:
    pip = ("-m", "pip", "--python", str(made.python), "install", "--quiet", "--disable-pip-version-check")
    done = outer(*pip, "--no-index", "--no-deps", "--no-build-isolation", str(what))
    assert done.returncode == 0, done.stderr


def register(site: Path, name: str, groups: Groups) -> None:
    """The metadata of an installed package `name` with these entry points."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
