"""What the tests of the explorer share: hostile rows, and reading its pages."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from urllib.parse import quote

TOKEN = "0123456789abcdef0123456789abcdef"
BASE = "http://127.0.0.1:8181"
HOSTILE = "<script>window.owned=1</script><img src=x onerror=window.owned=1>\"'\u202e\x1b[2J"
PROBLEM = "hostile/<script>window.owned=1</script>"
PROBLEM_IN_HTML, PROBLEM_IN_MARKDOWN = "hostile/html", "hostile/markdown"
ATTACKS_IN_HTML = f"""<p onclick="window.owned=1" style="position:fixed">Add <b>two</b> numbers &lt; 3.</p>
{HOSTILE}
<scr<script>ipt>window.owned=1</script><svg onload=window.owned=1>
<animate href=x onbegin=window.owned=1></svg>
<a href="javascript:window.owned=1">a</a><iframe srcdoc="<script>parent.owned=1</script>"></iframe>
<math><mtext></p><style><img src=x onerror=window.owned=1></style></mtext></math>
<form action=//evil.example><button>
<base href=//evil.example><link rel=stylesheet href=//evil.example>
<meta http-equiv=refresh content="0;//evil.example">
<img alt="<img src=x onerror=window.owned=1>" src=x onerror=window.owned=1><noscript><p title="</noscript>
<img src=x onerror=window.owned=1>"><!--><img src=x onerror=window.owned=1>-->
<![CDATA[<script>window.owned=1</script>]]>
</div></main></body><object data=javascript:window.owned=1><embed src=//evil.example></object><plaintext>"""
ATTACKS_IN_MARKDOWN = f"""# <img src=x onerror=window.owned=1>
[a](javascript:window.owned=1) ![a](//evil.example/x.png) <javascript:window.owned=1> <http://evil.example>
[b][b] $<img src=x onerror=window.owned=1>_{{<script>window.owned=1</script>}}$ {HOSTILE}

[b]: javascript:window.owned=1

```<img src=x onerror=window.owned=1>" onmouseover="window.owned=1
</code></pre><script>window.owned=1</script>
```

| <script>window.owned=1</script> | b |
|:---:|---:|
| `<img src=x onerror=window.owned=1>` | 2 |

<div onmouseover=window.owned=1>
</main><script>window.owned=1</script>
</div>
"""


def hostile_lines() -> str:
    """A problem, a program and a refused row of which every text is an attack."""
    problem = {
        "problem_id": PROBLEM,
        "title": HOSTILE,
        "statement": HOSTILE + "\n[a](javascript:window.owned=1)",
        "tags": [HOSTILE],
        "difficulty": HOSTILE,
        "tests": [{"test_id": HOSTILE, "kind": "public", "input": HOSTILE, "expected_output": HOSTILE}],
    }
    program = {
        "problem_id": PROBLEM,
        "origin": "other_policy",
        "policy_id": HOSTILE,
        "language": "python3",
        "program": f"# {HOSTILE}\nprint('''{HOSTILE}''')",
        "prompt": HOSTILE,
        "completion": HOSTILE,
        "claimed_verdict": "accepted",
        "claimed_basis": HOSTILE,
    }
    # Titles that differ only behind what a table shows of them.
    titles = [
        problem | {"problem_id": f"long/{end}", "title": "t" * 200 + title}
        for end, title in (("1", "b"), ("2", "a"))
    ]
    statements = {PROBLEM_IN_HTML: ATTACKS_IN_HTML, PROBLEM_IN_MARKDOWN: ATTACKS_IN_MARKDOWN}
    stated = [problem | {"problem_id": name, "statement": text} for name, text in statements.items()]
    refused = {"problem_id": PROBLEM, "program": "x", HOSTILE: HOSTILE}
    return "".join(json.dumps(line) + "\n" for line in (problem, program, refused, *titles, *stated))


def page(client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return answer.text


def text_of(shown: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", shown))


def some(place, **wanted):
    """The first trajectory with these values."""
    return next(row for row in place.trajectories if all(row[k] == v for k, v in wanted.items()))


def walk(client, address: str) -> list[str]:
    """The trajectory ids of all pages from this address on."""
    ids = []
    while address:
        shown = page(client, address)
        ids += re.findall(r'<a href="/trajectory\?id=([0-9a-f]{32})', shown)
        following = re.search(r'rel="next" href="([^"]+)"', shown)
        address = html.unescape(following[1]) if following else ""
    return ids


class Active(HTMLParser):
    """Collects what a browser would run or load: scripts, handlers, addresses of other places, styles."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "script" and values.get("src") not in ("/static/view.js", "/static/complete.js"):
            self.faults.append(f"script {values}")
        if tag in ("img", "iframe", "object", "embed", "base", "style"):
            self.faults.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.faults.append(f"{tag} {name}")
            if name in ("href", "src", "action", "data-part") and not re.match(r"/(?![/\\])|#", value or ""):
                self.faults.append(f"{tag} {name}={value}")


def addresses(place) -> list[str]:
    """Every kind of page, with hostile rows and hostile parameters."""
    hostile = some(place, problem_id=PROBLEM)["trajectory_id"]
    every_column = ("problems", "tests", "trajectories", "quarantine", "corpora")
    return [
        f"/comparison?id={place.corpus}&to={place.corpus}", f"/comparison?id={quote(HOSTILE)}&to=x",
        "/schedules", "/growth", "/growth?part=1",
        f"/drawn?run=runs/one&id={quote(HOSTILE)}", f"/trajectory?id={hostile}&compute={quote(HOSTILE)}",
        f"/trajectory?id={hostile}&policy={quote(HOSTILE)}&colour={quote(HOSTILE)}", "/table/judged?follow=1",
        f"/problem?id={quote(PROBLEM_IN_HTML)}", f"/problem?id={quote(PROBLEM_IN_MARKDOWN)}",
        "/", "/quarantine", "/runs", "/run?run=runs/one&run=runs/two", "/step?run=runs/one&step=2",
        f"/problem?id={quote(PROBLEM)}", f"/trajectory?id={hostile}", f"/policy?id={quote(HOSTILE)}",
        f"/corpus?id={place.corpus}", f"/refused?id={place.refused[0]}", f"/find?id={quote(HOSTILE)}",
        *(f"/table/{name}?columns=all" for name in every_column),
        "/facets/trajectories?part=1", "/facets/quarantine", "/facets/problems?facet=title",
        f"/table/problems?q={quote(HOSTILE)}&f={quote('title:has:' + HOSTILE)}",
        f"/table/problems?sort={quote(HOSTILE)}", f"/table/{quote(HOSTILE, safe='')}",
        f"/sql?q={quote('SELECT title, statement AS trajectory_id FROM problems')}",
        f"/sql?q={quote(HOSTILE)}&p={quote(HOSTILE)}", f"/runs?at={quote(HOSTILE)}",
        f"/run?run={quote(HOSTILE)}", "/checks", "/checks?part=1", f"/checks?start={quote(HOSTILE)}",
    ]  # fmt: skip
