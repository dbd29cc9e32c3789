"""What happens in a forked child, and what the supervisor prepares before the fork for all children.

Each page that a child touches is copied, and so costs time in every test.
"""

import _ctypes
import _functools
import _io
import _signal
import _sitebuiltins
import atexit
import builtins
import gc
import marshal
import posix
import sys

import protocol

PR_SET_DUMPABLE = 4
IGNORED_BY_PYTHON = (_signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)
LAST_DESCRIPTOR = 1 << 20
GUEST_FOLDER = __file__.rpartition("/")[0]
OWN_MODULES = ("protocol", "children", "confine", "crossing", "functions", "_ctypes", "_socket")
JOB, RESULT = 3, 4  # descriptors of function tests
COMPILED = 3  # the code of a program that shares its jail with others

# Standard modules that the supervisor loads once for programs that use them. None of them starts a thread.
PRELOADED = frozenset(
    (
        "array", "bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "enum",
        "fractions", "functools", "heapq", "io", "itertools", "json", "math", "operator", "os", "queue",
        "random", "re", "signal", "statistics", "string", "threading", "time", "typing",
    )
)  # fmt: skip
# Names in programs that may leave something for the end of an interpreter to complete: open files, exit
# handlers, threads, finalizers, or code that no check sees beforehand.
FINALIZER = "__del__"
UNFINISHED = frozenset(
    (
        "__builtins__", FINALIZER, "__import__", "_io", "_thread", "atexit", "builtins", "compile", "eval",
        "exec", "importlib", "io", "open", "os", "posix", "signal", "threading", "weakref",
    )
)  # fmt: skip
SUSPENDS = 0x20 | 0x80 | 0x200  # flags of the code of generators and coroutines
WARM_UP = "print(int(input()))\nfor line in sys.stdin: print(*map(int, line.split()))"
SUPERVISOR_ENVIRONMENT = (b"LD_BIND_NOW", b"SPO_PACKAGES")
# The same of packages that a named environment may have. Each is imported only by programs that use it.
PRELOADED_PACKAGES = frozenset(
    (
        "atcoder", "bitarray", "gmpy2", "more_itertools", "mpmath", "networkx", "numba", "numpy", "pandas",
        "scipy", "sortedcontainers", "sympy",
    )
)  # fmt: skip
PACKAGES = posix.environ.get(b"SPO_PACKAGES")
exit_now = posix._exit  # programs may replace the name
_library = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
_prctl, _capset = _ctypes.dlsym(_library, "prctl"), _ctypes.dlsym(_library, "capset")
builtins.quit = _sitebuiltins.Quitter(
    "quit", "Ctrl-D (i.e. EOF)"
)  # -S leaves them out, and importing `site` is slow
builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")


def become(uid):
    """Change from root to a user that owns nothing, and drop every capability."""
    posix.setgroups([])
    posix.setresgid(uid, uid, uid)
    posix.setresuid(uid, uid, uid)
    version_3 = (0x20080522).to_bytes(4, sys.byteorder) + bytes(4)
    if _ctypes.call_function(_capset, (version_3, bytes(24))) != 0:
        raise OSError("capset failed")


def hide_from_children():
    """Close /proc/1/{mem,fd,maps,...} to the programs, which run as the same user."""
    if _ctypes.call_function(_prctl, (PR_SET_DUMPABLE, 0, 0, 0, 0)) != 0:
        raise OSError("prctl(PR_SET_DUMPABLE) failed")


class NativeFunction(_ctypes.CFuncPtr):
    """A C function that runs with the interpreter's lock held, because one of them forks the interpreter."""

    _flags_ = 1 | 4  # FUNCFLAG_CDECL, FUNCFLAG_PYTHONAPI


class Native:
    """supervisor.c as a library. Raises OSError where it is missing."""

    def __init__(self, path):
        library = _ctypes.dlopen(path, 0)
        for name in ("prepare", "fork_tests", "number"):
            setattr(self, name, NativeFunction(_ctypes.dlsym(library, name)))


def start(program):
    """Run the program in this process. Never returns."""
    try:
        program()
    finally:
        exit_now(protocol.EXEC_FAILED)


def enter(program, descriptors, cpu_us, confinement):
    """The first step after a fork where the library, which does the same, is missing. Never returns."""
    resource = sys.modules["resource"]
    try:
        if confinement:
            confinement.enter_child()
        posix.setpgid(0, 0)
        # A second above the limit: the supervisor is exact; this stops a program whose supervisor is delayed.
        seconds = cpu_us // 1_000_000 + 2
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        take_descriptors(descriptors)
        _ctypes.call_function(_prctl, (PR_SET_DUMPABLE, 1, 0, 0, 0))
        if confinement:
            confinement.close_child()
    except BaseException:
        exit_now(protocol.EXEC_FAILED)
    start(program)


def take_descriptors(descriptors):
    """Move them to 0, 1, 2 and so on, and close all others, those of other tests too.

    They came in one message and so rise, and none is below 3: no target is a source still to be read.
    """
    for target, descriptor in enumerate(descriptors):
        posix.dup2(descriptor, target)
    posix.closerange(len(descriptors), LAST_DESCRIPTOR)


def default_signals():
    """Reset the signals that Python ignores, so that programs find none ignored.

    Process 1 cannot be reached anyway.
    """
    for number in IGNORED_BY_PYTHON:
        _signal.signal(number, _signal.SIG_DFL)


def forget_own_environment():
    """Remove the variables that only the start of the supervisor needed."""
    for name in SUPERVISOR_ENVIRONMENT:
        if posix.environ.pop(name, None) is not None:
            posix.unsetenv(name)


def run_command(argv, environment):
    try:
        posix.execve(argv[0], argv, environment)
    except OSError as error:
        posix.write(2, f"cannot start {argv[0]}: {error.strerror}\n".encode())


def import_what_is_used(source):
    """Load the standard modules that the source imports: once, instead of in every test."""
    for line in source.splitlines():
        statement = line.partition(b";")[0].replace(b",", b" ").split()
        if statement and statement[0] in (b"from", b"import"):
            for word in statement[1:]:
                name = word.partition(b".")[0].decode("ascii", "replace")
                if name in PRELOADED and name not in sys.modules:
                    __import__(name)
                elif name in PRELOADED_PACKAGES and PACKAGES:
                    import_package(name)


def use_packages():
    """Let programs import from the folder of packages that the judge shows."""
    if PACKAGES:
        sys.path.append(PACKAGES.decode("utf-8", "surrogateescape"))


def import_package(name):
    """Load a package once; one that is missing or broken fails in the program, which may not need it."""
    try:  # noqa: SIM105 (importing contextlib would slow down every jail)
        __import__(name)
    except Exception:
        pass


def warm_up_compiler():
    """The first call creates the types of all syntax nodes: once here, instead of in every child."""
    compile("", "", "exec")


def warm_up_messages():
    """Load what formats errors once, for a supervisor of many sources.

    For a single source the child loads it.
    """
    if "traceback" not in sys.modules:
        __import__("traceback")
        gc.freeze()


def warm_up_streams():
    """Read and print a little, so that every fork has what the first calls look up and cache."""
    inlet, outlet = posix.pipe()
    posix.write(outlet, b"1\n2 3\n")
    posix.close(outlet)
    streams = sys.stdin, sys.stdout
    with (
        _io.TextIOWrapper(_io.BufferedReader(_io.FileIO(inlet)), encoding="utf-8") as sys.stdin,
        _io.TextIOWrapper(
            _io.BufferedWriter(_io.FileIO(1, "w", closefd=False)), encoding="utf-8"
        ) as sys.stdout,
    ):
        exec(WARM_UP)
    sys.stdin, sys.stdout = streams


def compile_program(source):
    return compile(source, "/program/main.py", "exec", dont_inherit=True)


def try_to_compile(source, is_plain=None):
    """Exit with 0 where the source compiles, else with 1 and the error's text on standard output.

    With `is_plain`, of `plain.py`, the compiled code of a plain program is then what standard output has; the
    exit status is NOT_PLAIN for others.
    """
    posix.dup2(1, 2)  # where the compiler's warnings go
    try:
        code = compile_program(source)
    except (
        BaseException
    ) as error:  # SyntaxError, ValueError (NUL), RecursionError, MemoryError, OverflowError
        import traceback

        posix.write(
            1, "".join(traceback.format_exception_only(type(error), error)).encode("utf-8", "replace")
        )
        exit_now(1)
    if is_plain is not None:
        if not is_plain(code):
            exit_now(protocol.NOT_PLAIN)
        posix.ftruncate(1, 0)
        posix.pwrite(1, marshal.dumps(code), 0)
    exit_now(0)


def guest_module(name):
    """Import a module of the supervisor that not every jail needs. Programs do not see it."""
    sys.path.insert(0, GUEST_FOLDER)
    module = __import__(name)
    sys.path.remove(GUEST_FOLDER)
    del sys.modules[name]
    return module


def python_program(code, function_runner):
    """A program for `start` that runs compiled code as the main module.

    It hides the supervisor's own modules.
    """
    # Function tests do not run the code under `if __name__ == "__main__"`.
    main = fresh_module("program" if function_runner else "__main__")
    gc.freeze()  # collections need not look at what the supervisor has imported
    gc.collect(1)  # the counts of collections begin at zero
    collections = gc.get_stats()[1][
        "collections"
    ]  # of the middle generation, which moves objects to the oldest
    modules = len(sys.modules) if not function_runner and leaves_nothing(code) else None
    return _functools.partial(run_python, code, main, collections, function_runner, modules)


def shared_program(modules):
    """A program for `start` that runs the compiled code which its test brings. `modules`: what all of these
    programs import.
    """
    import_what_is_used(b"import " + modules)
    warm_up_streams()
    return _functools.partial(run_shared, python_program(compile_program(b""), None))


def run_shared(prepared):
    """Load and run the code in this process, so that the one it was forked from never holds a program."""
    code = marshal.loads(posix.pread(COMPILED, posix.fstat(COMPILED).st_size, 0))
    posix.close(COMPILED)
    _, main, collections, _, modules = prepared.args
    run_python(code, main, collections, None, modules if leaves_nothing(code) else None)


def leaves_nothing(code):
    """Whether a program has nothing for the end of an interpreter to complete, except to flush its streams:
    as long as it imports no module that the supervisor has not loaded.
    """
    waiting = [code]
    while waiting:
        part = waiting.pop()
        if not UNFINISHED.isdisjoint(part.co_names) or (part.co_flags & SUSPENDS and has_handlers(part)):
            return False
        for constant in part.co_consts:
            if isinstance(constant, type(code)):
                waiting.append(constant)
            elif constant == FINALIZER or (isinstance(constant, tuple) and FINALIZER in constant):
                return False
    return True


def has_handlers(code):
    """Whether code may have a `finally` that is still to run."""
    return bool(getattr(code, "co_exceptiontable", True))


def run_python(code, main, collections, function_runner, modules):
    """Run the code, then exit as an interpreter would, but without its tear-down.

    Threads are joined, exit handlers run, streams flushed, and open files closed. This is one long function,
    because each function that it called would be more pages to copy in every test. `modules`: the number of
    modules of a program that `leaves_nothing`, else None; with that number, only its streams are flushed.
    """
    status = 0
    gc.enable()
    try:
        if function_runner:
            function_runner(code, main.__dict__, JOB, RESULT)
        else:
            exec(code, main.__dict__)
            out, errors = sys.stdout, sys.stderr
            if (
                modules == len(sys.modules)
                and out is sys.__stdout__
                and errors is sys.__stderr__
                and not (out.closed or errors.closed)
            ):
                out.flush()
                errors.flush()
                exit_now(0)
    except BaseException as error:
        status = report(error)
    try:
        threading = sys.modules.get("threading")
        if threading is not None:
            threading._shutdown()
        atexit._run_exitfuncs()
        if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
            flush(sys.stdout, sys.stderr)  # first: streams of the program's own may need its globals
        # Free what only cycles hold, such as open files, from the oldest generation of the garbage collector
        # that holds objects of the program: a collection of all generations would be a large part of a small
        # test's time.
        oldest = 2 if gc.get_stats()[1]["collections"] != collections else 1 if gc.get_count()[1] else 0
        gc.collect(oldest)  # also finds files before their buffers, which must not be closed first
        main.__dict__.clear()
        gc.collect(oldest + 1 if oldest < 2 else 2)  # where the first collection moved what it kept
        for stream in (sys.__stdout__, sys.__stderr__):
            if stream is not None and not stream.closed:
                stream.flush()
    except BaseException as error:
        status = report(error) or 1
    exit_now(status)


def fresh_module(name):
    """The module that the program runs as. It hides the supervisor's own modules."""
    main = type(sys)(name)
    main.__dict__.update(__builtins__=builtins, __file__="/program/main.py", __spec__=None)
    for own_module in OWN_MODULES:
        sys.modules.pop(own_module, None)
    sys.modules[name] = sys.modules["__main__"] = main
    sys.argv[0] = "/program/main.py"
    return main


def report(error):
    """Report an exception that nobody caught as the interpreter does. Returns the exit status."""
    if isinstance(error, SystemExit):
        code = error.code
        if code is None or isinstance(code, int):
            return (code or 0) & 0xFF
        print(code, file=sys.stderr)
        return 1
    if isinstance(error, KeyboardInterrupt):
        return 130
    outside = error.__traceback__.tb_next  # without the supervisor's frame
    sys.excepthook(type(error), error.with_traceback(outside), outside)
    return 1


def flush(*streams):
    for stream in streams:
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()
