"""Which Python programs may share a jail with others: those that say nothing about their surroundings.

Such a program imports only well-known modules without state, and uses no name that reads its own text, its
process, its arguments or the order of hashes. Programs with other names run as well, in a jail of their own;
so this costs time where it is too strict, and no promise hangs on it where a program gets around it.
"""

import opcode

MODULES = frozenset(
    (
        "array", "bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools",
        "heapq", "itertools", "json", "math", "operator", "random", "re", "statistics", "string", "sys",
        "time", "typing",
    )
)  # fmt: skip
DUNDERS = frozenset(
    f"__{name}__"
    for name in (
        "abs", "add", "and", "bool", "call", "contains", "delitem", "eq", "float", "floordiv", "ge",
        "getitem", "gt", "iadd", "index", "init", "int", "isub", "iter", "le", "len", "lt", "mod", "module",
        "mul", "name", "ne", "neg", "next", "or", "pow", "qualname", "radd", "repr", "reversed", "rmul",
        "rsub", "setitem", "slots", "str", "sub", "truediv", "xor",
    )
)  # fmt: skip
REFUSED = frozenset(
    (
        "argv", "breakpoint", "compile", "delattr", "eval", "exec", "frozenset", "getattr", "globals", "hash",
        "help", "id", "input_file", "locals", "modules", "open", "os", "set", "setattr", "setprofile",
        "settrace", "vars",
    )
)  # fmt: skip
IMPORT = opcode.opmap["IMPORT_NAME"]
MAKES_SETS = frozenset(opcode.opmap[name] for name in ("BUILD_SET", "SET_ADD", "SET_UPDATE"))
EXTENDED = opcode.EXTENDED_ARG


def is_plain(code):
    """Whether compiled code and all code in it may share a jail. Not where this cannot tell, as with the code
    of an interpreter that it does not know.
    """
    try:
        return all_are_plain(code)
    except Exception:
        return False


def all_are_plain(code):
    waiting = [code]
    while waiting:
        part = waiting.pop()
        if not all(map(is_plain_name, (*part.co_names, part.co_name))) or not has_plain_steps(part):
            return False
        waiting += [constant for constant in part.co_consts if isinstance(constant, type(code))]
    return True


def is_plain_name(name):
    if name.startswith("_"):
        return name == "_" or name in DUNDERS or not name.startswith("__")
    return name not in REFUSED


def has_plain_steps(code):
    before = None
    for at in range(0, len(code.co_code), 2):
        step, number = code.co_code[at], code.co_code[at + 1]
        if step in MAKES_SETS:
            return False
        if step == IMPORT and (before == EXTENDED or code.co_names[number].partition(".")[0] not in MODULES):
            return False
        before = step
    return True
