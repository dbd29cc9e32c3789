"""Function tests inside the program's jail: make the requested calls, and return the results as data."""

import json
import os
import sys

import crossing

EXACT_INTEGERS = 1 << 53
FILE_TYPE, REGULAR_FILE = 0o170000, 0o100000


def run(program, namespace, job_descriptor, result_descriptor):
    """Execute the program, then the job. The answer is JSON on a descriptor of its own, never standard
    output.

    A job is {"candidate": entry point or ""} with {"call": expression} or with {"code": statements, "check":
    whether they define check(candidate), "token": secret}. Where the job comes from a pipe, it is calls from
    another jail: see `serve`.
    """
    status = os.fstat(job_descriptor)
    if status.st_mode & FILE_TYPE != REGULAR_FILE:
        exec(program, namespace)
        serve(namespace, job_descriptor, result_descriptor)
        return
    job = json.loads(os.pread(job_descriptor, status.st_size, 0))
    os.close(job_descriptor)
    exec(program, namespace)
    if job["candidate"]:
        namespace["candidate"] = eval(job["candidate"], namespace)
    if "call" in job:
        answer = {"value": encode(eval(job["call"], namespace))}
    else:
        answer = run_assertion(job, namespace)
    write_all(result_descriptor, json.dumps(answer).encode())


def serve(namespace, calls, answers):
    """Answer calls until the assertion jail closes its end: see `assertions.py`.

    The first message is [entry point, names of classes whose instances cross]; a call is [[name, words of its
    keyword arguments], arguments, attributes]; an answer [["value" or "raise", ...], [result, arguments after
    the call], attributes].
    """
    (entry_point, *shapes), _ = crossing.Decoder({}).message(
        crossing.receive(calls, crossing.MAX_MESSAGE_BYTES)
    )
    if entry_point:
        namespace["candidate"] = eval(entry_point, namespace)
    classes = {name: namespace[name] for name in shapes if isinstance(namespace.get(name), type)}
    while (text := crossing.receive(calls, crossing.MAX_MESSAGE_BYTES)) is not None:
        (name, *words), values = crossing.Decoder(classes).message(text)
        positional = values[: len(values) - len(words)]
        keywords = dict(zip(words, values[len(positional) :], strict=True))
        crossing.send(answers, answer_call(namespace, name, positional, keywords, text, shapes))


def answer_call(namespace, name, positional, keywords, request, shapes):
    """The answer to one call, with the arguments where the call has changed them."""
    arguments = [*positional, *keywords.values()]
    head, result = ["value"], None
    try:
        result = eval(name, namespace)(*positional, **keywords)
        return crossing.Encoder(shapes, opaque).message(
            head, result, *changed([name, *keywords], arguments, request, shapes)
        )
    except Exception as error:
        head = ["raise", error_text(error), *(kind.__name__ for kind in type(error).__mro__)]
    try:
        again = changed([name, *keywords], arguments, request, shapes)
        return crossing.Encoder(shapes, opaque).message(head, None, *again)
    except Exception:
        return json.dumps([head, [None], []])


def changed(head, arguments, request, shapes):
    """The arguments if the call has changed them, else an empty list."""
    if all(isinstance(argument, crossing.SCALARS) for argument in arguments) or b'{"iterator"' in request:
        return []
    now = crossing.Encoder(shapes, opaque).message(head, *arguments)
    return [] if now.encode() == request else arguments


def error_text(error):
    try:
        return str(error)
    except Exception:
        return ""


def opaque(value):
    return {"opaque": type(value).__name__}


def run_assertion(job, namespace):
    """The token, or the assertion's message."""
    try:
        exec(compile(job["code"], "/program/test.py", "exec", dont_inherit=True), namespace)
        if job["check"]:
            namespace["check"](namespace["candidate"])
    except AssertionError as error:
        return {"failed": str(error)}
    return {"token": job["token"]}


def write_all(descriptor, data):
    while data:
        data = data[os.write(descriptor, data) :]


def encode(value):
    """A value as JSON that keeps Python's types apart. A value that is not plain data becomes its type's
    name, which equals nothing.
    """
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        value = int(value)
        return value if -EXACT_INTEGERS < value < EXACT_INTEGERS else ["int", hex(value)]
    if isinstance(value, float):
        return ["float", float.__repr__(float(value))]
    if isinstance(value, complex):
        return ["complex", repr(value.real), repr(value.imag)]
    if isinstance(value, bytes | bytearray):
        return ["bytes", value.hex()]
    if isinstance(value, list | tuple):
        return ["list", [encode(item) for item in value]]
    if isinstance(value, set | frozenset):
        return ["set", [encode(item) for item in value]]
    if isinstance(value, dict):
        return ["dict", [[encode(key), encode(item)] for key, item in value.items()]]
    return encode_number(value)


def encode_number(value):
    """Fractions, decimals and the scalars of numeric packages, as what they compare equal to."""
    fractions, decimal = sys.modules.get("fractions"), sys.modules.get("decimal")
    if (fractions and isinstance(value, fractions.Fraction)) or (
        decimal and isinstance(value, decimal.Decimal)
    ):
        if value == int(value):
            return encode(int(value))
        return ["float", repr(float(value))] if float(value) == value else ["opaque", type(value).__name__]
    if callable(getattr(value, "item", None)):
        return encode(value.item())
    return ["opaque", type(value).__name__]
