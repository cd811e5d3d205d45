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

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What its interpreter says, with nothing on its path that was not installed."""
        own = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        return _said([str(self.python), *arguments], own)


def outer(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What the interpreter of the environment we are in says."""
    return _said([sys.executable, *arguments], os.environ)


def _said(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    # `-m` puts the current folder on the path: it is one without packages.
    return subprocess.run(command, env=environment, cwd=sys.prefix, capture_output=True, text=True, check=False)


def install(project: Path, folder: Path) -> Venv:
    """A new virtual environment in `folder` into which pip has installed `project`; no network is asked."""
    venv.create(folder, symlinks=True)
    places = {"base": str(folder), "platbase": str(folder)}
    made = Venv(folder / "bin" / "python", Path(sysconfig.get_path("purelib", "venv", places)))
    (made.site / "outer.pth").write_text("".join(f"{place}\n" for place in OUTER), encoding="utf-8")
    pip = ("-m", "pip", "--python", str(made.python), "install", "--quiet", "--disable-pip-version-check")
    done = outer(*pip, "--no-index", "--no-deps", "--no-build-isolation", str(project))
    assert done.returncode == 0, done.stderr
    return made


def register(site: Path, name: str, groups: Groups) -> None:
    """The metadata of an installed package `name` with these entry points."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
