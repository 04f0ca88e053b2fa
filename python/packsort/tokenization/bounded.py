"""Chat templates in the environment of transformers, with `Limits` on what they take.

The code of a template is compiled by the environment that transformers makes, with its filters and functions, and then
does what it does there. Only three things differ. Loops count their steps. Operators, filters and methods whose result
may be much larger than what they are given ask before they make it. And a value that is added up is looked at where it
is kept, so that the common `{{ a + b }}` costs nothing.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import Any

from jinja2 import Template, nodes, pass_context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from packsort.tokenization.amplifiers import FILTERS, METHODS, Check, lipsum
from packsort.tokenization.limits import Limits

_STEPS, _SIZED = "packsort_steps", "packsort_sized"
_BLOCKS = 4096  # pieces of text that are joined at a time
_SHORT = 16  # terms of a sum that is written out at once
_METHOD_TYPES = (types.BuiltinMethodType, types.MethodType)
_numbers = count()


class BoundedTemplate:
    """Compiled chat template.

    Args:
        text: The Jinja template.
        limits: What it may take.
        **functions: Functions of the template that replace those of transformers.

    Attributes:
        template: The compiled template.
        key: A text that `transformers` renders by this template.

    Raises:
        ImportError: transformers or jinja2 is not installed, or is too old or too new.
        TemplateSyntaxError: The template is not valid.
    """

    def __init__(self, text: str, limits: Limits, **functions: Any) -> None:
        # transformers keeps compiled templates by their text. Compiled by itself, a hostile one would run: Jinja
        # computes constants. So it compiles a stand-in, which becomes the template, and which is loud if it does not.
        self.key = f"{{{{ raise_exception('packsort lost its template {next(_numbers)}') }}}}{{# {{% generation %}} #}}"
        self._stand_in = _compiled(self.key)
        environment: Any = self._stand_in.environment
        environment.__class__ = _BoundedEnvironment
        environment.limits = limits
        environment.filters |= {name: _checked(environment.filters[name], FILTERS[name], limits) for name in FILTERS}
        environment.filters[_STEPS] = _steps(limits)
        environment.filters[_SIZED] = _sized(limits)
        environment.globals |= functions
        environment.globals["lipsum"] = _checked(environment.globals["lipsum"], lipsum, limits)
        self.template: Template = environment.from_string(text)
        generate = self.template.generate
        self.template.generate = lambda *given, **named: _pieces(generate(*given, **named), limits)
        vars(self._stand_in).update(vars(self.template))

    @property
    def is_installed(self) -> bool:
        """Whether transformers still has it under `key`; it keeps a number of templates only."""
        return _compiled(self.key) is self._stand_in


class _BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Environment of transformers, whose class is replaced by this one."""

    limits: Limits
    intercepted_binops = frozenset({"*", "**", "%"})

    def _generate(self, source: nodes.Template, *given: Any, **named: Any) -> str:
        return super()._generate(_Marked().visit(source), *given, **named)

    def concat(self, pieces: Iterable[str]) -> str:
        """Join pieces of text, which may be more than fit memory."""
        limits, given, size, joined = self.limits, iter(pieces), 0, []
        limits.check_time()  # macros that call each other have no loops
        while True:
            some = list(islice(given, _BLOCKS))
            size += sum(map(len, some))
            if size > limits.size:
                limits.check_size(size)
            joined.append("".join(some))
            if len(some) < _BLOCKS:
                return joined[0] if len(joined) == 1 else "".join(joined)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Check the operands of an operator before it works."""
        limits = self.limits
        if operator == "%":
            if isinstance(left, (str, bytes)):
                limits.check_widths(left, right if isinstance(right, tuple) else (right,))
        elif isinstance(left, int) and isinstance(right, int):
            limits.check_bits(left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length())
        elif operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, (str, bytes, list, tuple)) and isinstance(other, int):
                    (limits.check_size if isinstance(one, (str, bytes)) else limits.check_items)(len(one) * other)
        return self.binop_table[operator](left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., Any] | None:
        """Return a method with its check; Jinja asks wherever a template reaches one."""
        check = METHODS.get(value.__name__) if type(value) in _METHOD_TYPES else None
        if check is None:
            return None
        return _checked(super().wrap_str_format(value) or value, check, self.limits, value.__self__)


class _Marked(NodeTransformer):
    """Transformer of a template's tree: its loops are counted, and its sums are looked at where they are kept."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        """Count the steps of a loop."""
        self.generic_visit(node)
        node.iter = _filter(node.iter, _STEPS)
        return node

    def visit_Add(self, node: nodes.BinExpr | nodes.Concat) -> nodes.Node:  # noqa: N802
        """Look at a sum."""
        self._terms(node)
        return _filter(node, _SIZED)

    visit_Concat = visit_Add  # noqa: N815

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802
        """Leave short sums that are written out alone: what is written is looked at as a whole."""
        for place, one in enumerate(node.nodes):
            sums = isinstance(one, (nodes.Add, nodes.Concat)) and self._terms(one) <= _SHORT
            node.nodes[place] = one if sums else self.visit(one)
        return node

    def _terms(self, node: nodes.Node) -> int:
        """Transform the terms of a sum, and return their number."""
        if isinstance(node, nodes.Add):
            found = 0
            for name in ("left", "right"):
                one = getattr(node, name)
                if isinstance(one, (nodes.Add, nodes.Concat)):
                    found += self._terms(one)
                else:
                    setattr(node, name, self.visit(one))
                    found += 1
            return found
        assert isinstance(node, nodes.Concat)
        node.nodes = [self.visit(one) for one in node.nodes]
        return len(node.nodes)


def _filter(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _compiled(text: str) -> Any:
    from transformers.utils.chat_template_utils import _compile_jinja_template

    return _compile_jinja_template(text)


def _pieces(pieces: Iterable[str], limits: Limits) -> Iterator[str]:
    """Yield the pieces of a text as long as they are no more than it may have."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limits.size:
            limits.check_size(size)
        yield piece


def _steps(limits: Limits) -> Callable[[Any, Any], Any]:
    """Return the filter that counts the items of a loop and returns them."""

    @pass_context  # or Jinja would call it when it compiles
    def steps(context: Any, items: Any) -> Any:
        return limits.steps(items)

    return steps


def _sized(limits: Limits) -> Callable[[Any, Any], Any]:
    """Return the filter that looks at a value and returns it."""
    most = limits.size

    @pass_context
    def sized(context: Any, value: Any) -> Any:
        if isinstance(value, (str, bytes)):
            if len(value) > most:
                limits.check_size(len(value))
        elif isinstance(value, (list, tuple)):
            limits.check_items(len(value))
        return value

    return sized


def _checked(function: Callable[..., Any], check: Check, limits: Limits, *value: Any) -> Callable[..., Any]:
    """Return a filter, or the method of a value, with its check."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0  # Jinja's own argument

    @functools.wraps(function)
    def checked(*given: Any, **named: Any) -> Any:
        own, given = given[:first], _listed(limits, given[first:])
        check(limits, *value, *given, **named)
        return function(*own, *given, **named)

    return checked


def _listed(limits: Limits, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return arguments with lists, counted, for what gives its items one after another: a look at them uses them up."""
    return tuple(list(limits.steps(one)) if isinstance(one, Iterator) else one for one in given)
