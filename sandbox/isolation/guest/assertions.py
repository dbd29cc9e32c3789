"""The assertion jail: runs a test's own code, out of reach of the program that it tests.

`candidate`, and every other name that only the program can know, is a `Remote`: a call of it crosses to the
program's jail as plain data, and so does what comes back (`crossing.py`, `functions.py`). Descriptors: the
job and the report, as in the program's jail, and the pipes to and from it.
"""

import _signal
import builtins
import json
import os

import crossing
import functions

CALLS, ANSWERS = 5, 6
MAX_CHARACTERS = 300  # of what an exception says
exit_now = os._exit


class Remote:
    """A function of the program. It can be called, and nothing else."""

    def __init__(self, peer, name):
        self.__dict__["_peer"], self.__dict__["_name"] = peer, name

    def __call__(self, *positional, **keywords):
        return self._peer.call(self._name, positional, keywords)

    def __getattr__(self, attribute):
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        self._peer.give_up(f"the test uses {self._name}.{attribute}")

    def __setattr__(self, attribute, _):
        self._peer.give_up(f"the test sets {self._name}.{attribute}")


class Peer:
    """The other end of the pipes. `report` ends the test there and then: the test's own code must not
    catch it.
    """

    def __init__(self, shapes, report):
        self.shapes, self.report = shapes, report
        self.called = set()

    def call(self, name, positional, keywords):
        self.called.add(name)
        arguments = [*positional, *keywords.values()]
        try:
            request = crossing.Encoder(self.shapes, self.refuse).message([name, *keywords], *arguments)
        except crossing.NotPlainData as error:
            self.give_up(f"an argument is {error}")
        try:
            crossing.send(CALLS, request)
            answer = crossing.receive(ANSWERS, crossing.MAX_MESSAGE_BYTES)
            if answer is None:
                self.report({"left": "left before the end of the test"})
            head, values = crossing.Decoder(self.shapes).message(answer)
            result, *changed = values
            kind, *words = head
        except (crossing.Malformed, OSError, ValueError, TypeError) as error:
            self.report({"left": f"left before the end of the test: {type(error).__name__}"})
        for old, new in zip(arguments, changed):  # noqa: B905
            if type(old) is type(new):
                crossing.update_in_place(old, new)
        if kind != "value":
            raise raised(words)
        # By its own text the test makes an object of the program's, which cannot cross: no program can bring
        # this about.
        if isinstance(result, crossing.Opaque) and name[:1].isupper():
            self.give_up(f"the test makes a {name}")
        return result

    def refuse(self, value):
        if isinstance(value, crossing.Opaque):
            self.report({"failed": f"gave {value!r}"})
        raise crossing.NotPlainData(f"of type {type(value).__name__}")

    def give_up(self, why):
        self.report({"not_plain_data": why})


def raised(words):
    """The program's exception as one of this side: of the first built-in class among its own."""
    text, *names = [word for word in words if isinstance(word, str)] or [""]
    kinds = (getattr(builtins, name, None) for name in names)
    kind = next((k for k in kinds if isinstance(k, type) and issubclass(k, Exception)), Exception)
    if names and names[0] != kind.__name__:
        kind = type(names[0], (kind,), {"__module__": "program"})
    try:
        return kind(text)
    except Exception:
        return Exception(text)


def run(preamble, namespace, job_descriptor, result_descriptor):
    """Execute the problem's own code, then the test. The report is JSON on a descriptor of its own.

    A job is {"candidate": entry point or "", "names": names that mean it} with {"call": expression} or
    {"code": statements, "check": whether they define check(candidate)}; a report has one of passed, value,
    failed, error, left and not_plain_data, and beside the first two `called`: how many functions of the
    program the test has called.
    """
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)  # the program may leave before its time
    job = json.loads(os.pread(job_descriptor, os.fstat(job_descriptor).st_size, 0))

    def report(result):
        functions.write_all(result_descriptor, json.dumps(result).encode())
        exit_now(0)

    exec(preamble, namespace)
    shapes = {
        name: kind
        for name, kind in namespace.items()
        if isinstance(kind, type) and kind.__module__ == namespace["__name__"]
    }
    peer = Peer(shapes, report)
    crossing.send(CALLS, json.dumps([[job["candidate"], *shapes], [], []]))
    try:
        result = run_test(job, namespace, peer)
    except AssertionError as error:
        result = {"failed": str(error)[:MAX_CHARACTERS]}
    except BaseException as error:
        result = {"error": f"{type(error).__name__}: {error}"[:MAX_CHARACTERS]}
    report(result)


def run_test(job, namespace, peer):
    source, mode = (job["call"], "eval") if "call" in job else (job["code"], "exec")
    code = compile(source, "/program/test.py", mode, dont_inherit=True)
    if job["candidate"]:
        remote = Remote(peer, "candidate")
        namespace.update(dict.fromkeys(["candidate", *job["names"]], remote))
    for name in names_in(code):
        if name not in namespace and not hasattr(builtins, name):
            namespace[name] = Remote(peer, name)
    value = eval(code, namespace)
    if "call" in job:
        return {"value": functions.encode(value), "called": len(peer.called)}
    if job["check"]:
        namespace["check"](namespace["candidate"])
    return {"passed": True, "called": len(peer.called)}


def names_in(code):
    """Names that code may look up: global ones, and those of attributes, which do no harm."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            names |= names_in(constant)
    return names
