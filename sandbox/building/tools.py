"""Which folders a jail must show of a tool: a compiler, an interpreter, a run time."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from sandbox.languages import Language, locate

SHARED_FOLDERS = (Path("/"), Path("/usr"), Path("/usr/local"), Path.home())  # of many tools, not a tool chain
INSTALLED = ("/usr/share", "/usr/local", "/opt")
LINK_DEPTH = 2


def existing(patterns: tuple[str, ...]) -> list[str]:
    """The existing paths among patterns that may hold a *."""
    return [str(path) for pattern in patterns for path in sorted(Path("/").glob(pattern.lstrip("/")))]


@cache
def tool_folders(tool: str) -> tuple[str, ...]:
    """What a jail must show of a tool: the tool itself, or the whole tool chain around it, unless that is in
    a library folder; and what links in the tool chain lead to.
    """
    path = Path(tool)
    around = path.parent.parent
    if path.parent.name != "bin" or around in SHARED_FOLDERS:
        return () if path.is_relative_to("/usr/lib") else (tool,)
    own = () if around.is_relative_to("/usr/lib") else (str(around),)
    return *own, *_linked(around)


def _linked(folder: Path) -> list[str]:
    """Where links in a tool chain lead to outside it, below the folders that systems install tools in.

    Debian, for example, keeps a tool chain in /usr/lib and its sources in /usr/share.
    """
    targets: dict[str, None] = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() and _is_tool_chain(target := _target(path), folder):
                targets[str(target)] = None
        if len(Path(place).relative_to(folder).parts) >= LINK_DEPTH:
            folders.clear()
    return list(targets)


def _target(link: Path) -> Path:
    """What a link names: maybe another link, whose name in a jail shows what the last one leads to."""
    return Path(os.path.normpath(link.parent / os.readlink(link)))


def home_of(language: Language) -> str:
    """The folder around `bin` that the first of the language's `tools` is installed in; "" without one."""
    tool = locate(language.tools[0]) if language.tools else None
    return str(Path(tool).parent.parent) if tool else ""


def _is_tool_chain(target: Path, folder: Path) -> bool:
    """Whether a link's target is a part of a tool chain that the jail does not show yet."""
    if target.is_relative_to("/usr/lib") or target.is_relative_to(folder) or not target.exists():
        return False
    folders = [Path(place) for place in INSTALLED]
    return any(target.is_relative_to(place) and len(target.parts) > len(place.parts) + 1 for place in folders)
