"""Chat templates that take too long, or make too much, are refused by row; and others render as in transformers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import packsort
from chat_templates import tokenizer_of
from commands import Run
from tiny_tokenizer import build

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
SIZE, TIME, CALLS = "PACKSORT_TEMPLATE_SIZE", "PACKSORT_TEMPLATE_SECONDS", "calls itself too often"
GROW = "{% set n = namespace(x=START) %}{% for a in range(100) %}{% set n.x = STEP %}{% endfor %}"
LOOP = "{% for a in range(100000) %}"
TWICE = "{% macro f(n, x) %}{% if n %}{{ f(n - 1, x) }}{{ f(n - 1, x) }}{% endif %}{% endmacro %}{{ f(60, 1) }}"

HOSTILE = {
    "{{ 'x' * 10**12 }}": SIZE,
    "{{ 'x' * 1000000000000 }}": SIZE,
    "{{ [1] * 10**12 }}": SIZE,
    "{{ 10**(10**10) }}": SIZE,
    "{{ range(10**10)|list }}": "Range too big",
    LOOP * 3 + "{% endfor %}" * 3: TIME,
    LOOP * 3 + "x" + "{% endfor %}" * 3: SIZE,
    "{% set x %}" + LOOP * 3 + "{% endfor %}" * 3 + "{% endset %}": TIME,
    GROW.replace("START", "'xy'").replace("STEP", "n.x + n.x"): SIZE,
    GROW.replace("START", "'xy'").replace("STEP", "n.x ~ n.x"): SIZE,
    GROW.replace("START", "[1]").replace("STEP", "n.x + n.x"): SIZE,
    "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}": CALLS,
    TWICE: TIME,
    "{% for a in [[1]] recursive %}{{ loop([[1], [1]]) }}{% endfor %}": CALLS,
    "{% block a %}{{ self.a() }}{% endblock %}": CALLS,
    "{{ (['x' * 90000] * 9000)|join }}": SIZE,
    "{{ ''.join(['x' * 90000] * 9000) }}": SIZE,
    "{{ ''.join((['x' * 90000] * 90)|map('upper')) }}": SIZE,
    "{{ 'x'|center(10**12) }}": SIZE,
    "{{ 'x'|center(1000000000000) }}": SIZE,
    "{{ 'x'.center(10**12) }}": SIZE,
    "{{ 'x'['center'](10**12) }}": SIZE,
    "{{ ('x'|attr('center'))(10**12) }}": SIZE,
    "{{ ('x'|e).center(10**12) }}": SIZE,
    "{% set n = namespace(f='x'.zfill) %}{{ n.f(10**12) }}": SIZE,
    "{{ ['x']|map('center', 10**12)|list }}": SIZE,
    "{{ ('x' * 90000).replace('x', 'y' * 90000) }}": SIZE,
    "{{ ('x' * 90000)|replace('x', 'y' * 90000) }}": SIZE,
    "{{ '%1000000000000d' % 1 }}": SIZE,
    "{{ '%*d' % (10**12, 1) }}": SIZE,
    "{{ '%1000000000000d'|format(1) }}": SIZE,
    "{{ '{:1000000000000}'.format(1) }}": SIZE,
    "{{ '{:{}}'.format(1, 10**12) }}": SIZE,
    "{{ '{a:{b}}'.format_map({'a': 1, 'b': 10**12}) }}": SIZE,
    "{{ ('\\n' * 90000)|indent(90000) }}": SIZE,
    "{{ {'a': 1}|tojson(indent=10**12) }}": SIZE,
    "{{ ('\\t' * 1000).expandtabs(10**9) }}": SIZE,
    "{{ ('x' * 90000).translate({120: 'y' * 90000}) }}": SIZE,
    "{{ (1).to_bytes(10**12, 'big') }}": SIZE,
    "{{ [1]|batch(10**10, 'x')|list }}": SIZE,
    "{{ [1]|slice(10**10)|list }}": SIZE,
    "{{ ([range(9000)|list] * 9000)|sum(start=[]) }}": SIZE,
    "{{ 1.5|round(10**10, 'ceil') }}": SIZE,
    "{{ lipsum(n=10**9) }}": SIZE,
    "{% set x = 'x' * 90000 %}" + LOOP + "{{ x }}{% endfor %}": SIZE,
    "{% set x = 'x' * 90000 %}" + LOOP + "{% generation %}{{ x }}{% endgeneration %}{% endfor %}": SIZE,
}


def tokenized(template: str, chats: list[Any] | None = None, **options: Any) -> pa.Table:
    rows = pa.table({"messages": [CHAT] if chats is None else chats})
    return packsort.tokenize(rows, tokenizer_of(template), **{"loss": "all", **options}).read()


@pytest.mark.parametrize("template", HOSTILE)
def test_a_template_that_takes_too_much_is_refused(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSORT_TEMPLATE_SECONDS", "0.1")
    monkeypatch.setenv("PACKSORT_TEMPLATE_SIZE", "10000000")
    if HOSTILE[template] == SIZE:
        monkeypatch.setenv("PACKSORT_TEMPLATE_SECONDS", "30")
        monkeypatch.setenv("PACKSORT_TEMPLATE_SIZE", "100000")
    with pytest.raises(packsort.TokenizerError) as caught:
        tokenized(template)
    assert "`<table>` row 0: the chat template" in str(caught.value)
    assert HOSTILE[template] in str(caught.value)


def test_marks_of_a_hostile_template_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSORT_TEMPLATE_SIZE", "100000")
    with pytest.raises(packsort.TokenizerError, match="a text of more than 100,000 characters"):
        tokenized(
            "{% set x = 'x' * 9000 %}" + LOOP + "{% generation %}{{ x }}{% endgeneration %}{% endfor %}", loss="auto"
        )


@pytest.mark.parametrize("template", ["{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", LOOP * 60 + "{% endfor %}" * 60])
def test_a_template_that_cannot_be_compiled_is_refused(template: str) -> None:
    with pytest.raises(packsort.TokenizerError, match="the chat template cannot be compiled: "):
        tokenized(template)


def test_the_row_that_takes_too_much_is_named_and_the_limit_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    template = "{% for m in messages %}{{ m['content'] * 1000 }}{% endfor %}"
    chats = [CHAT, [{"role": "user", "content": "hi" * 100}, CHAT[1]]]
    monkeypatch.setenv("PACKSORT_TEMPLATE_SIZE", "100000")
    with pytest.raises(packsort.TokenizerError, match=r"`<table>` row 1: .* set PACKSORT_TEMPLATE_SIZE to a larger"):
        tokenized(template, chats)
    monkeypatch.setenv("PACKSORT_TEMPLATE_SIZE", "1000000")
    found = tokenized(template, chats)["input_ids"].to_pylist()
    tokenizer = tokenizer_of(template)
    texts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
    assert found == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    monkeypatch.setenv("PACKSORT_TEMPLATE_SIZE", "many")
    with pytest.raises(packsort.OptionError, match="PACKSORT_TEMPLATE_SIZE must be a number, got 'many'"):
        tokenized(template, chats)


def test_windows_of_a_hostile_template_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSORT_TEMPLATE_SIZE", "100000")
    template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}"
        "{% if messages|length == 2 %}{{ 'x' * 10**12 }}{% endif %}"
    )
    with pytest.raises(packsort.TokenizerError, match="`<table>` row 0: in a window of the conversation: the chat"):
        tokenized(template, [CHAT * 3], split_turns=5)


def test_time_is_that_of_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped meanwhile has not taken the time that has passed."""
    from packsort.tokenization.limits import Limits

    monkeypatch.setenv("PACKSORT_TEMPLATE_SECONDS", "0.2")
    limits = Limits()
    time.sleep(0.3)
    for _ in range(3):
        limits.check_time()
        time.sleep(0.1)
    end = time.thread_time() + 0.4
    while time.thread_time() < end:
        pass
    with pytest.raises(packsort.TokenizerError, match=r"more than 0\.2 seconds"):
        limits.check_time()


SAME = [
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }} {{ loop.last }} {{ loop.nextitem }}{% endfor %}",
    "  {% for m in messages if m.role == 'user' %}{{ m.content }}{% else %}none{% endfor %}\n",
    "\n{% set x = messages[0].content + '|' ~ messages|length %}{{ x }}{{ [x] + ['y'] }}{{ [x] * 3 }}",
    "{% for k, v in messages[0].items() %}{{ k }}{{ v }}{% endfor %}{% for c in nothing %}x{% endfor %}",
    "{% for a in range(200) %}{% if a == 3 %}{% continue %}{% endif %}{{ a }}{% if a > 90 %}{% break %}{% endif %}"
    "{% endfor %}",
    "{{ messages|map(attribute='content')|join(', ') }}{{ messages|tojson(indent=2) }}{{ 'a\nb'|indent(4, true) }}",
    "{{ '%s-%5d' % ('a', 3) }}{{ '{:>5}{x}'.format(1, x=2) }}{{ 'x'.center(9) }}{{ 7 % 3 }}{{ 2**10 }}{{ 2.5 * 2 }}",
    "{{ [[1], [2]]|sum(start=[]) }}{{ range(5)|batch(2, 'x')|list }}{{ range(5)|slice(2)|list }}{{ 1.25|round(1) }}",
    "{% macro f(n) %}{% if n %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(9) }}{{ ', '.join(['a', 'b']) }}",
    "{% for a in [1, [2, [3]]] recursive %}{{ loop(a) if a is sequence else a }}{% endfor %}{{ 'aXb'.split('X') }}",
    "{% generation %}{{ messages[1].content }}{% endgeneration %}{{ (messages|list)[0].role }}{{ strftime_now('x') }}",
]


@pytest.mark.parametrize("template", SAME)
def test_a_template_renders_as_in_transformers(template: str) -> None:
    tokenizer = tokenizer_of(template)
    text = tokenizer.apply_chat_template(CHAT, tokenize=False)
    assert tokenized(template)["input_ids"].to_pylist() == [tokenizer(text, add_special_tokens=False)["input_ids"]]


def test_the_template_is_kept_where_transformers_forgets_it() -> None:
    """transformers keeps the last 128 templates that it has compiled."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    from packsort.tokenization.clock import Clock
    from packsort.tokenization.messages import Conversation
    from packsort.tokenization.template import ChatTemplate

    template = ChatTemplate("{{ messages[0].content }}{{ x }}", {}, Clock())
    given = Conversation(CHAT, None, {"x": 1})
    assert template.render(given) == "hi1"
    for number in range(200):
        _compile_jinja_template(f"{number}")
    assert template.render(given) == "hi1"


def test_the_command_names_the_row_and_the_limit(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "tokenizer", template="{{ 'x' * 10**12 }}")
    (tmp_path / "chats.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    out = tmp_path / "packed"
    made = run("pack", tmp_path / "chats.jsonl", "-o", out, "--tokenizer", folder, "--max-length", 8, "--loss", "all")
    assert made.returncode == 1
    assert f"error: `{tmp_path / 'chats.jsonl'}` row 0: the chat template makes a text of more than" in made.stderr
    assert not out.exists()
