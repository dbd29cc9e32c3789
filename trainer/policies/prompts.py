"""Prompts: the words in which a policy is asked a problem, from a jinja template that a user may replace.

A policy's folder may hold `prompt.jinja` (the question) and `prompt.json` (a system prompt, and solved
examples that come before the question). Both are saved with the policy and are a part of its fingerprint.
Without them the templates in `templates/` hold: chat (models with a chat template), plain (policies with the
markers of `policy.py`) and base (other models).
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import cached_property
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, ValidationError

from sandbox.languages import find_language
from trainer.policies.problems import Problem, as_problem

TEMPLATE_FILE, SETTINGS_FILE = "prompt.jinja", "prompt.json"
BUILT_IN = Path(__file__).parent / "templates"
# What a chat template gets if it asks for the date: a prompt must be the same tomorrow.
FIXED_DATE = datetime(2026, 1, 1)
# In place of `strftime_now`, which transformers gives to a chat template.
_CODES = [f"%{letter}" for letter in "YmdBbyAajHIMSpf"]
FIXED_CLOCK = (
    "{%- macro strftime_now(pattern) -%}{{ pattern"
    + "".join(f" | replace('{code}', '{FIXED_DATE.strftime(code)}')" for code in _CODES)
    + " }}{%- endmacro -%}"
)
LANGUAGE_TITLES = {
    "python3": "Python",
    "cpp": "C++",
    "c": "C",
    "csharp": "C#",
    "go": "Go",
    "java": "Java",
    "javascript": "JavaScript",
    "kotlin": "Kotlin",
    "rust": "Rust",
    "typescript": "TypeScript",
}  # others by their name
# The template of a policy's folder may be a stranger's: it can reach no attribute of Python.
_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)


class PromptError(ValueError):
    """A template or its settings that cannot be used; the message says which file, and what is wrong."""


class Shot(BaseModel):
    """A solved example."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    question: str
    answer: str


class PromptFormat(BaseModel):
    """How a policy is asked. `template` is a jinja text, empty for the built-in one of `kind`."""

    model_config = ConfigDict(extra="forbid", frozen=True, ignored_types=(cached_property,))
    kind: str
    template: str = ""
    system: str = ""
    shots: tuple[Shot, ...] = ()

    @cached_property
    def source(self) -> str:
        return self.template or (BUILT_IN / f"{self.kind}.jinja").read_text()

    @cached_property
    def _compiled(self) -> jinja2.Template:
        ends_a_line = self.kind == "base"  # a chat's turn and a marked question do not
        return _ENVIRONMENT.from_string(self.source if ends_a_line else self.source.removesuffix("\n"))

    def question(self, asked: Problem | str) -> str:
        """The words of a question. Variables of the template: statement, mode (stdin or function),
        entry_point, stub, samples (each with input and output), language, fence. Raises PromptError.
        """
        problem = as_problem(asked)
        judging = problem.judging
        row = find_language(judging.language)
        try:
            return self._compiled.render(
                statement=problem.statement,
                mode=judging.mode,
                entry_point=judging.entry_point,
                stub=judging.stub,
                samples=judging.samples,
                language=LANGUAGE_TITLES.get(judging.language, judging.language),
                fence=row.fence if row else judging.language,
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise PromptError(f"{TEMPLATE_FILE}: {type(error).__name__}: {error}") from error

    def messages(self, asked: Problem | str) -> list[dict[str, str]]:
        """The turns of a chat up to the answer."""
        turns = [{"role": "system", "content": self.system}] if self.system else []
        for shot in self.shots:
            turns.append({"role": "user", "content": shot.question})
            turns.append({"role": "assistant", "content": shot.answer})
        return [*turns, {"role": "user", "content": self.question(asked)}]

    @property
    def text(self) -> str:
        """All that decides a prompt beside the tokenizer, as one text, for fingerprints."""
        shots = [shot.model_dump() for shot in self.shots]
        date = FIXED_DATE.date().isoformat()
        return json.dumps([self.kind, self.source, self.system, shots, date])

    def save(self, folder: Path) -> None:
        """Write what is not built in to a policy's folder."""
        if self.template:
            (folder / TEMPLATE_FILE).write_text(self.template)
        if self.system or self.shots:
            settings = self.model_dump(mode="json", include={"system", "shots"})
            (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1))


def load_format(folder: Path, kind: str) -> PromptFormat:
    """The format in a policy's folder, or the built-in one. Raises PromptError."""
    values: dict[str, object] = {"kind": kind}
    template, settings = folder / TEMPLATE_FILE, folder / SETTINGS_FILE
    try:
        if template.is_file():
            values["template"] = template.read_text()
            _ENVIRONMENT.from_string(template.read_text())
        if settings.is_file():
            values |= json.loads(settings.read_text())
        return PromptFormat.model_validate(values)
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(f"{template}, line {error.lineno}: {error.message}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise PromptError(f"{settings}: {where}: {first['msg']}") from error
    except (ValueError, TypeError, UnicodeDecodeError) as error:
        raise PromptError(f"{settings if settings.is_file() else template}: {error}") from error
