"""What of the table this machine can compile and run.

A tool that is missing makes a language unavailable, never an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache

from sandbox.languages.environments import python_environment
from sandbox.languages.language import Language


@cache
def locate(tool: str) -> str | None:
    """Absolute real path of a tool, or None.

    Links are followed, because a jail does not show the folder of the links.
    """
    path = shutil.which(tool)
    if path and os.path.basename(os.path.realpath(path)) == "rustup":
        # rustup's proxies need its whole home folder; the tool chain that they call does not.
        answer = subprocess.run(
            [path, f"+{_rustup_default(path)}", "--print", "sysroot"], capture_output=True, text=True
        )
        path = os.path.join(answer.stdout.strip(), "bin", tool) if answer.returncode == 0 else None
    return os.path.realpath(path) if path else None


def _rustup_default(proxy: str) -> str:
    rustup = os.path.join(os.path.dirname(proxy), "rustup")
    answer = subprocess.run([rustup, "show", "active-toolchain"], capture_output=True, text=True)
    return answer.stdout.split()[0] if answer.stdout.split() else "stable"


def toolchain(language: Language) -> str | None:
    """Name and version of what builds and runs the language here, or None where it is missing.

    Raises BadEnvironment, for Python alone.
    """
    if not language.is_judged:
        return None
    if language.in_supervisor:
        return _python()
    if language.module:
        return _python_module(language.module[0])
    commands = (language.compile, language.run, language.version)
    tools = {*language.tools, *(words[0] for words in commands if words and "{" not in words[0])}
    if not all(locate(tool) for tool in tools) or not all(map(os.path.exists, language.needs)):
        return None
    return _version(language)


def _python() -> str:
    version = "python " + ".".join(map(str, sys.version_info[:3]))
    environment = python_environment()
    return f"{version} with {environment.description}" if environment else version


def _python_module(name: str) -> str | None:
    """A module of the named environment and its interpreter; None where the environment lacks it."""
    environment = python_environment()
    versions = dict(environment.distributions) if environment else {}
    return f"{name} {versions[name]}, {_python()}" if name in versions else None


@cache
def _version(language: Language) -> str | None:
    answer = subprocess.run(
        [locate(language.version[0]) or "", *language.version[1:]], capture_output=True, text=True
    )
    lines = [line for line in (answer.stdout or answer.stderr).strip().splitlines() if "warning" not in line]
    return lines[0] if answer.returncode == 0 and lines else None
