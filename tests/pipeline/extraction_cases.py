"""Completions in the shapes that models write, each with its program, blank lines at both ends aside."""

from __future__ import annotations

F = "```"
P = "import sys\nn = int(sys.stdin.readline())\nprint(n * 2)\n"
C = "#include <iostream>\nint main() { int n; std::cin >> n; std::cout << n * 2; }\n"
# name -> (completion, program, expected language or None)
CASES: dict[str, tuple[str, str, str | None]] = {}


def case(kind, name, text, program, language=None):
    CASES[f"{kind}: {name}"] = text, program, language


# labels of fences
case("label", "python", f"Here it is:\n{F}python\n{P}{F}\n", P)
case("label", "Python in upper case", f"{F}Python\n{P}{F}", P)
case("label", "py", f"{F}py\n{P}{F}", P)
case("label", "cpp17", f"{F}cpp17\n{C}{F}", C)
case("label", "pandoc's {.python}", f"{F}{{.python}}\n{P}{F}", P)
case("label", "python:main.py", f"{F}python:main.py\n{P}{F}", P)
case("label", "a blank before it", f"{F} python\n{P}{F}", P)
case("label", "on the line below the fence", f"{F}\npython\n{P}{F}", P)
case("language", "only C++, Python wanted", f"{F}cpp\n{C}{F}", "", "python3")
case("language", "both, Python wanted", f"{F}python\n{P}{F}\nand C++\n{F}cpp\n{C}{F}", P, "python3")
case("language", "javascript", f"{F}javascript\nconsole.log(1)\n{F}", "console.log(1)\n")
# fences inside programs
case(
    "inner fence",
    "indented, in a docstring",
    f'{F}python\ndef f():\n    """Use:\n    {F}\n    f()\n    {F}\n    """\n    return 1\nprint(f())\n{F}\n',
    f'def f():\n    """Use:\n    {F}\n    f()\n    {F}\n    """\n    return 1\nprint(f())\n',
)
case(
    "inner fence",
    "in a string on one line",
    f'{F}python\ns = "{F}"\nprint(s)\n{F}\n',
    f's = "{F}"\nprint(s)\n',
)
case(
    "longer fence",
    "four backticks around three",
    f"````python\nprint('''\n{F}\n''')\n````",
    f"print('''\n{F}\n''')\n",
)
case("tilde", "plain", f"~~~python\n{P}~~~\n", P)
# reasoning before the answer
case(
    "reasoning",
    "draft, then the answer",
    f"<think>try\n{F}python\nprint(1)\n{F}\n</think>\n{F}python\n{P}{F}",
    P,
)
case(
    "reasoning",
    "a draft that was given up, and no answer",
    f"<think>try\n{F}python\nprint(1)\n{F}\nso wrong, more is needed</think>\nI could not solve it.",
    "",
)
case(
    "reasoning",
    "a fence left open, then an answer in a bare fence",
    f"<think>sample is\n{F}\n1 2\n</think>\nAnswer:\n{F}\n{P}{F}\n",
    P,
)
# what stands after the answer
case("after", "a test", f"{F}python\n{P}{F}\nTest:\n{F}python\nassert solve(1) == 2\n{F}", P)
case("after", "the output of an example", f"{F}python\n{P}{F}\nOutput:\n{F}\n4\n{F}", P)
case(
    "after", "a command in a bare block", f"{F}python\n{P}{F}\nRun it:\n{F}\npython3 main.py < in.txt\n{F}", P
)
case("after", "bash", f"{F}python\n{P}{F}\nRun it:\n{F}bash\npython3 main.py\n{F}", P)
case("after", "powershell", f"{F}python\n{P}{F}\nRun it:\n{F}powershell\npython main.py\n{F}", P)
case("after", "makefile, Python wanted", f"{F}python\n{P}{F}\n{F}makefile\nall:\n{F}", P, "python3")
case("after", "diff", f"{F}python\n{P}{F}\n{F}diff\n-a\n+b\n{F}", P)
case("after", "pycon", f"{F}python\n{P}{F}\n{F}pycon\n>>> 1\n1\n{F}", P)
case("after", "an empty block", f"{F}python\n{P}{F}\n{F}python\n{F}", P)
case(
    "after", "pseudo code in a bare block", f"{F}python\n{P}{F}\nIdea:\n{F}\nwhile not done: go left\n{F}", P
)
# cut completions
case("cut", "in the only block", f"{F}python\n{P}", P)
case(
    "cut",
    "in the last block, after a draft",
    f"First:\n{F}python\nprint(7)\n{F}\nThat misses a case. Better:\n{F}python\n{P}",
    P,
)
case("cut", "no closing fence, prose after", f"{F}python\n{P}\n\nThis works because n is small.", P)
# indentation, quotes, line ends
case(
    "indented",
    "in a list, by three",
    f"1. do\n   {F}python\n   x = 1\n   print(x)\n   {F}\n",
    "x = 1\nprint(x)\n",
)
case(
    "indented", "in a list, by a tab", f"- do\n\t{F}python\n\tx = 1\n\tprint(x)\n\t{F}\n", "x = 1\nprint(x)\n"
)
case("indented", "in a quotation", f"> {F}python\n> x = 1\n> print(x)\n> {F}\n", "x = 1\nprint(x)\n")
case(
    "indented",
    "a block of Markdown without a fence",
    "Solution:\n\n    import sys\n    print(1)\n",
    "import sys\nprint(1)\n",
)
case("line ends", "CR LF", f"{F}python\r\nx = 1\r\nprint(x)\r\n{F}\r\n", "x = 1\nprint(x)\n")
case("line ends", "tabs in the program", f"{F}python\nif 1:\n\tprint(1)\n{F}", "if 1:\n\tprint(1)\n")
case("characters", "a byte order mark", f"\ufeff{F}python\n{P}{F}", P)
# the closing fence
case("closing", "text after it", f"{F}python\n{P}{F} Done.\n", P)
case("closing", "glued to the code", f"{F}python\nprint(1){F}\n", "print(1)")
case("closing", "indented by four", f"{F}python\n{P}    {F}\nmore text\n", P)
case("closing", "none missing, one too many", f"{F}python\n{P}{F}\n{F}\n", P)
case("one line", "with a label", f"{F}python print(1) {F}", "print(1)")
case("doubled", "a bare fence around a labelled one", f"{F}\n{F}python\n{P}{F}\n{F}\n", P)
case("nested", "a Markdown block of four around it", f"````markdown\n# Solution\n{F}python\n{P}{F}\n````", P)
case("in a line", "with a label", f"Answer: {F}python\n{P}{F}", P)
case("in a line", "without a label", f"The program: {F}\n{P}{F}", P)
# tags, tokens, calls
case("tag", "answer, no fence", f"<answer>\n{P}</answer>", P)
case("tag", "answer on the fence's line", f"<answer>{F}python\n{P}{F}</answer>", P)
case("tag", "[PYTHON]", f"[PYTHON]\n{P}[/PYTHON]", P)
case("token", "<|im_end|> after the fence", f"{F}python\n{P}{F}<|im_end|>", P)
case("token", "<|endoftext|> after a bare program", f"{P}<|endoftext|>", P)
case(
    "call",
    "a tool call in JSON",
    '{"name": "submit", "arguments": {"code": "print(1)\\nprint(2)"}}',
    "print(1)\nprint(2)",
)
case("bare", "program only", P, P)
case("bare", "prose before it", f"Here is the solution:\n\n{P}", P)
case("reasoning", "cut", f"<think>try\n{F}python\n{P}{F}\nthat is", "")
case(
    "reasoning",
    "the prompt has the opening tag",
    f"try {F}python\nprint(1)\n{F} no</think>\n{F}python\n{P}{F}",
    P,
)
case(
    "reasoning",
    "in channels",
    f"<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>{F}python\n{P}{F}",
    P,
)
case(
    "reasoning",
    "twice",
    f"<think>a</think>\nFirst\n<think>\n{F}python\n1\n{F}\n</think>\n{F}python\n{P}{F}",
    P,
)
case("label", "no label, but a program before data", f"{F}\n{P}{F}\nOn\n{F}\n1\n{F}\n", P)
case("line ends", "CR", f"{F}python\rx = 1\rprint(x)\r{F}\r", "x = 1\nprint(x)\n")
case(
    "tilde", "indented in a list", "1. do\n   ~~~python\n   x = 1\n   print(x)\n   ~~~\n", "x = 1\nprint(x)\n"
)
case(
    "after",
    "a call of what it defines",
    f"{F}python\ndef f(x):\n    return x\n{F}\n{F}python\ny = f(1)\nprint(y)\n{F}",
    "def f(x):\n    return x\n",
)
case("after", "a stub to be filled in", f"{F}python\n{P}{F}\n{F}python\n# YOUR CODE HERE\n{F}", P)
case(
    "before", "a program of another language in a bare block", f"{F}\n{C}{F}\n{F}python\n{P}{F}", P, "python3"
)
case("tag", "code", f"<code>\n{P}</code>", P)
case("tag", "solution in capitals", f"<SOLUTION>\n{P}</SOLUTION>", P)
case("tag", "answer without a program in it", f"{F}python\n{P}{F}\n<answer>\nSee above.\n</answer>", P)
case("token", "two of them", f"{F}python\n{P}{F}<|eot_id|></s>\n", P)
case("token", "in a string of the program", f"{F}python\nprint('</s>')\n{F}", "print('</s>')\n")
case(
    "call",
    "of Hermes",
    '<tool_call>\n{"name": "run", "arguments": {"code": "print(1)"}}\n</tool_call>',
    "print(1)",
)
case(
    "call",
    "of Qwen3-Coder",
    "<tool_call>\n<function=run>\n<parameter=code>\nprint(1)\n</parameter>\n</function>\n</tool_call>",
    "print(1)",
)
case(
    "call",
    "with arguments as text",
    '[{"type": "function", "function": {"name": "f", "arguments": "{\\"code\\": \\"print(1)\\"}"}}]',
    "print(1)",
)
case("call", "without a program", '{"name": "search", "arguments": {"query": "segment tree"}}', "")
case(
    "bare",
    "prose before and after it",
    f"Here is the solution:\n\n{P}\nIt reads one number and doubles it.",
    P,
)
case("bare", "prose only", "I read the number, then I print it. The time is linear.", "")
case(
    "bare",
    "a program of Pascal",
    "var n: integer;\nbegin\n  readln(n);\n  writeln(n);\nEnd.",
    "var n: integer;\nbegin\n  readln(n);\n  writeln(n);\nEnd.",
)
