"""The sandbox in which chat templates are compiled: the functions, filters and tags of Hugging Face's.

A template can read what it is given and nothing else: no attribute with underscores, no change of a value, no
file. `range` gives at most 100,000 numbers. Nothing else is limited: a template that loops in loops, or
doubles a text again and again, takes the time and the memory that it takes. So a template is to be trusted
as far as its folder; messages cannot bring code into it.

This module needs the package jinja2 (extra `hf`) and is imported when the first template is compiled.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.parser import Parser


class _GenerationBlock(Extension):
    """`{% generation %}…{% endgeneration %}`: marks the model's words for training; in a prompt, its text."""

    tags = {"generation"}  # noqa: RUF012  # jinja2 declares it as an attribute of objects

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def compile_template(source: str) -> tuple[Template, frozenset[str]]:
    """Return a compiled template and the names of the variables that it reads from outside.

    Errors: those of jinja2.

    >>> template, names = compile_template("{% generation %}{{ [tools, 'é'] | tojson }}{% endgeneration %}")
    >>> template.render(tools=1), names
    ('[1, "é"]', frozenset({'tools'}))
    """
    names = find_undeclared_variables(_ENVIRONMENT.parse(source))
    return _ENVIRONMENT.from_string(source), frozenset(names)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes for HTML, sorts keys and writes ASCII; a prompt wants none of that."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _environment() -> ImmutableSandboxedEnvironment:
    # The text is a prompt, not a page: escaping for HTML would change it.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationBlock], autoescape=False
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


# Compiling changes nothing in it, so all threads share one.
_ENVIRONMENT = _environment()
