"""Function tests, inside the jail: call the candidate, hand the result out as data; or run an assertion."""

import json
import os
import sys

EXACT_INTEGERS = 1 << 53


def run(program, namespace, job_descriptor, result_descriptor):
    """Execute the program, then the job. The answer is JSON on a descriptor of its own, never standard output.

    A job is {"candidate": entry point or ""} with {"call": expression} or with {"code": statements, "check": whether they
    define check(candidate), "token": secret}.
    """
    size = os.fstat(job_descriptor).st_size
    job = json.loads(os.pread(job_descriptor, size, 0))
    os.close(job_descriptor)
    exec(program, namespace)
    if job["candidate"]:
        namespace["candidate"] = eval(job["candidate"], namespace)
    if "call" in job:
        answer = {"value": encode(eval(job["call"], namespace))}
    else:
        answer = run_assertion(job, namespace)
    write_all(result_descriptor, json.dumps(answer).encode())


def run_assertion(job, namespace):
    """The token, or what the assertion said."""
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
    """A value as JSON that keeps Python's types apart; what is no plain data becomes its type's name, equal to nothing."""
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
