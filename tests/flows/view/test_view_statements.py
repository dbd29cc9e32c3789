"""Statements are rendered, and whatever they contain stays inert."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from flows.view.statements import ALLOWED, rendered

# Statement -> what must be in its HTML.
RENDERED = {
    "## Input\n\nTwo numbers:\n\n- the **first**\n- the second": [
        "<h4>Input</h4>", "<li>the <strong>first</strong></li>",
    ],
    "Print a*b*c and x*(y)*2.": ["Print a*b*c and x*(y)*2."],
    "First line\nsecond line": ["First line<br />\nsecond line"],
    "1 \\le n \\leq $10^{5}$ and $$$a_i < a_{i+1}$$$": [
        "1 ≤ n ≤ ", '<span class="math">10<sup>5</sup></span>', "a<sub>i</sub> &lt; a<sub>i+1</sub>",
    ],
    "It costs $5 or $6 in \\name.": ["It costs $5 or $6 in \\name."],
    "Print `a_i <= $b$`.": ["<code>a_i &lt;= $b$</code>"],
    "| n | answer |\n|--:|---|\n| 1 | 2 |": ["<th>n</th>", "<td>2</td>"],
    "Close the tag <b> with </b>.": ["Close the tag &lt;b&gt; with &lt;/b&gt;."],
    "<p>Given <code>x_1 \\le 2</code>, 2<sup>3</sup> &lt; 9.</p>\n<ul><li>one<li>two</ul><h1>Notes</h1>": [
        "<code>x_1 \\le 2</code>, 2<sup>3</sup> &lt; 9.", "<li>one</li><li>two</li>", "<h3>Notes</h3>",
    ],
    '<div>See <img alt="the tree" src="tree.png"></div>': ["See [the tree]"],
}  # fmt: skip


@pytest.mark.parametrize("statement", RENDERED)
def test_a_statement_is_rendered(statement):
    shown = str(rendered(statement))
    assert [part for part in RENDERED[statement] if part not in shown] == [], shown


@pytest.mark.parametrize("name", ["ATTACKS_IN_HTML", "ATTACKS_IN_MARKDOWN", "HOSTILE"])
def test_attacks_have_only_allowed_elements_without_attributes(visits, name):
    shown = str(rendered(getattr(visits, name)))
    elements = re.findall(r"<(/?)([^\s>/]*)([^>]*)>", shown)
    assert elements
    assert {tag for _, tag, _ in elements} <= ALLOWED | {"span"}
    assert {rest.strip() for _, tag, rest in elements if tag != "span"} <= {"", "/"}
    assert {rest for end, tag, rest in elements if tag == "span" and not end} <= {' class="math"'}
    opened = [tag for end, tag, rest in elements if not end and tag not in ("br", "hr")]
    assert sorted(opened) == sorted(tag for end, tag, _ in elements if end)


def test_the_stored_text_is_beside_it(client, visits):
    shown = visits.page(client, f"/problem?id={quote(visits.PROBLEM_IN_HTML)}")
    assert "Add <b>two</b> numbers &lt; 3." in shown
    stored = shown.split('<pre class="stored"')[1].split("</pre>")[0]
    assert '<p onclick="window.owned=1"' in visits.text_of("<pre" + stored)


def test_a_long_statement_is_shown_as_it_is_stored():
    assert rendered("a" * 30_001) is None


@pytest.mark.timeout(10)
@pytest.mark.parametrize("unit", ["[", "*a", "`", "<p>", "$a", "> ", "_(", "|", "<b", "\\frac{", "&#"])
def test_no_statement_takes_long(unit):
    text = unit * (29_000 // len(unit))
    rendered(text)
    rendered("<p>" + text + "</p>")
