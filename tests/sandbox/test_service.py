"""The judge over HTTP: a real server on loopback, SandboxFusion's fields, and who is let in."""

from __future__ import annotations

import asyncio
import base64
import threading
import time

import httpx
import pytest
import uvicorn

from sandbox import judge_version
from sandbox.languages import find_language, toolchain
from sandbox.service import application, is_loopback

FIELDS = {"status", "message", "compile_result", "run_result", "executor_pod_name", "files"}
COMMAND_FIELDS = {"status", "execution_time", "return_code", "stdout", "stderr"}
C = "#include <stdio.h>\n#include <stdlib.h>\nint main(void) { %s }"


@pytest.fixture(scope="module")
def serve(pool):
    """serve(token, everywhere) -> an HTTP client of a service of its own."""
    servers, clients = [], []

    def serve(token=None, everywhere=False):
        config = uvicorn.Config(application(pool, token, everywhere), port=0, log_level="warning")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        servers.append((server, thread))
        clients.append(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
        return clients[-1]

    yield serve
    for client in clients:
        client.close()
    for server, thread in servers:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def client(serve):
    return serve()


def run(client, code, language="python", **fields):
    answer = client.post("/run_code", json={"code": code, "language": language, **fields})
    assert answer.status_code == 200 and set(answer.json()) == FIELDS, answer.text
    return answer.json()


def test_a_run_that_ends_well(client):
    # The fields that verl's client sends.
    actual = run(
        client, "print(int(input()) * 2)", stdin="21\n", compile_timeout=10, run_timeout=10,
        memory_limit_MB=1024, files={},
        fetch_files=[],
    )  # fmt: skip
    assert (actual["status"], actual["message"], actual["compile_result"]) == ("Success", "", None)
    assert set(actual["run_result"]) == COMMAND_FIELDS and actual["run_result"]["execution_time"] > 0
    assert actual["run_result"] | {"execution_time": None} == {
        "status": "Finished", "execution_time": None, "return_code": 0, "stdout": "42\n", "stderr": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("language", "code", "status", "compiled", "ran"),
    [
        ("python", "1/0", "Failed", None, ("Finished", 1)),
        ("python", "print(", "Failed", None, ("Finished", 1)),
        ("python", "while True: pass", "Failed", None, ("TimeLimitExceeded", None)),
        ("python", "import time; time.sleep(60)", "Failed", None, ("TimeLimitExceeded", None)),
        ("python", "b = bytearray(300 << 20)", "Failed", None, ("Finished", -9)),
        ("c", C % 'puts("x"); abort();', "Failed", ("Finished", 0), ("Finished", -6)),
        ("c", C % "return x;", "Failed", ("Finished", 1), None),
        ("c", C % 'puts("x");', "Success", ("Finished", 0), ("Finished", 0)),
    ],
)
def test_runs_that_fail(client, language, code, status, compiled, ran):
    actual = run(client, code, language, run_timeout=0.5, memory_limit_MB=128)
    results = [
        result and (result["status"], result["return_code"])
        for result in (actual["compile_result"], actual["run_result"])
    ]
    assert (actual["status"], *results) == (status, compiled, ran), actual


SLOW_TO_COMPILE = """template <int a, int b> struct S { enum { x = S<a - 1, b>::x + S<a - 1, b + 1>::x }; };
template <int b> struct S<0, b> { enum { x = 1 }; };
int main() { return S<500, 0>::x; }"""


def test_the_compiler_keeps_to_its_timeout(client):
    actual = run(client, SLOW_TO_COMPILE, "cpp17", compile_timeout=0.5)
    compiled = actual["compile_result"]
    assert (actual["status"], compiled["status"], actual["run_result"]) == (
        "Failed",
        "TimeLimitExceeded",
        None,
    )
    assert "0.5 s of CPU time" in compiled["stderr"]


def test_times_are_seconds_and_hold_for_every_language(client):
    spin = "class A { public static void main(String[] a) { while (true); } }"
    actual = run(client, spin, "java", run_timeout=0.6)
    assert actual["run_result"]["status"] == "TimeLimitExceeded"
    assert 0.0 < actual["compile_result"]["execution_time"] < 60
    asleep = run(client, "import time\ntime.sleep(0.3)", run_timeout=5)["run_result"]
    assert 0.3 <= asleep["execution_time"] < 3


GO_TESTS = """package main
import "testing"
func add(a, b int) int { return a + b }
func TestAdd(t *testing.T) { if add(1, 2) != %d { t.Fatal("wrong") } }
"""
D_TESTS = "int add(int a, int b) { return a + b; }\nunittest { assert(add(1, 2) == %d); }\nvoid main() {}"


JUNIT_TESTS = """import org.junit.jupiter.api.*;
class AddTest { @Test void adds() { Assertions.assertEquals(%d, 1 + 2); } }"""
RACKET_TESTS = '#lang racket\n(require rackunit)\n(unless (= (+ 1 2) %d) (raise "wrong"))'
VERILOG = "module tb; initial if (1 + 2 != %d) $fatal(1); endmodule"
SQL = "CREATE TABLE t (a CHECK (a = 3)); INSERT INTO t VALUES (%d);"
SCRIPT = "check(1 + 2 == %d)"


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("go_test", GO_TESTS), ("D_ut", D_TESTS), ("racket", RACKET_TESTS), ("verilog", VERILOG),
        ("sql", SQL),
        ("java", "class A { public static void main(String[] a) { assert 1 + 2 == %d; } }"),
        pytest.param("junit", JUNIT_TESTS, marks=pytest.mark.slow),
        pytest.param("kotlin_script", SCRIPT, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_programs_that_are_run_for_their_tests(client, language, code):
    if toolchain(find_language(language)) is None:
        pytest.skip(f"no tool chain for {language} here")
    statuses = [run(client, code % answer, language)["status"] for answer in (3, 4)]
    assert statuses == ["Success", "Failed"]


# https://github.com/bytedance/SandboxFusion/blob/main/sandbox/runners/types.py
LANGUAGES_OF_SANDBOX_FUSION = (
    "python cpp nodejs go go_test java php csharp bash typescript sql rust cuda lua R perl D_ut ruby scala"
    " julia pytest junit kotlin_script jest verilog python_gpu lean swift racket js ts"
)


@pytest.mark.parametrize("name", LANGUAGES_OF_SANDBOX_FUSION.split())
def test_every_language_of_sandbox_fusion_is_known(name):
    assert find_language(name) is not None


@pytest.mark.parametrize("code", ["#eval 1", ""])
def test_a_language_that_cannot_be_here_is_said_to_be_missing(client, code):
    for name in ("lean", "cuda", "jest", "python_gpu"):
        found = run(client, code, name)
        assert (found["status"], found["message"]) == (
            "SandboxError",
            f"language {name} is not on this machine",
        )


def test_pytest_says_what_it_needs(client, monkeypatch):
    monkeypatch.delenv("SPO_SANDBOX_PYTHON", raising=False)
    assert run(client, "", "pytest")["message"] == (
        "language pytest is not on this machine; install pytest into a virtual environment, and name that in"
        " SPO_SANDBOX_PYTHON"
    )


def test_php_needs_no_tag(client):
    if toolchain(find_language("php")) is None:
        pytest.skip("no PHP here")
    for code in ("echo 1 + 2;", " <?php echo 1 + 2;"):
        assert run(client, code, "php")["run_result"]["stdout"].strip() == "3"


def test_no_memory_limit_is_the_default_one(client):
    assert run(client, "print(len(bytearray(300 << 20)))", memory_limit_MB=-1)["status"] == "Success"


def test_whole_outputs_come_back(client):
    actual = run(client, "import sys\nprint('y' * 300_000)\nsys.stderr.write('z' * 5000)")
    assert (
        actual["run_result"]["stdout"] == "y" * 300_000 + "\n"
        and actual["run_result"]["stderr"] == "z" * 5000
    )


def test_files_are_beside_the_program_and_in_its_folder(client):
    # As SandboxFusion, nothing is written for null, and for a name that says so.
    files = {"lib.py": "d29yZCA9ICdoZXJlJw==", "./data/a b.txt": "eA==", "/tmp/empty": "", "none": None}
    files |= {"IGNORE_THIS_FILE": "eA=="}
    code = "import lib, os\nprint(lib.word, open('data/a b.txt').read(), sorted(os.listdir()))"
    actual = run(client, code, files=files)
    names = "['data', 'empty', 'lib.py']"
    assert (actual["status"], actual["run_result"]["stdout"]) == ("Success", f"here x {names}\n"), actual


BYTES = bytes(range(256))
COPY = "a = open('in.bin', 'rb').read()\nopen('out.bin', 'wb').write(a[::-1])"
COPY_C = C % (
    'FILE *a = fopen("in.bin", "rb"), *b = fopen("out.bin", "wb"); int n; char all[256]; '
    "fread(all, 1, 256, a); for (n = 255; n >= 0; n--) fputc(all[n], b); fclose(b);"
)


@pytest.mark.parametrize(("language", "code"), [("python", COPY), ("c", COPY_C)])
def test_bytes_go_in_and_come_back(client, language, code):
    files = {"in.bin": base64.b64encode(BYTES).decode()}
    wanted = ["./out.bin", "/tmp/in.bin", "missing", "out.bin"]
    actual = run(client, code, language, files=files, fetch_files=wanted)
    assert actual["status"] == "Success", actual
    backwards = base64.b64encode(BYTES[::-1]).decode()
    assert actual["files"] == {
        "./out.bin": backwards, "/tmp/in.bin": files["in.bin"], "out.bin": backwards,
    }  # fmt: skip


def test_files_come_back_from_a_run_that_fails(client):
    actual = run(
        client, "import os\nos.mkdir('d')\nopen('d/é x', 'w').write('1')\n1/0", fetch_files=["d/é x", "d"]
    )
    assert (actual["status"], actual["files"]) == ("Failed", {"d/é x": "MQ=="})
    actual = run(client, "open('a', 'w').write('1')\nwhile True: pass", run_timeout=0.3, fetch_files=["a"])
    assert (actual["run_result"]["status"], actual["files"]) == ("TimeLimitExceeded", {"a": "MQ=="})


def test_no_link_is_followed_to_a_file_that_comes_back(client):
    code = (
        "import os\nos.symlink('/program', 'folder')\nos.symlink('/program/main.py', 'file')\n"
        "os.symlink('/proc/1', 'one')\nos.mkfifo('pipe')\nprint(open('file').read() != '')"
    )
    wanted = ["folder/main.py", "file", "one/environ", "one/cmdline", "pipe", "folder"]
    actual = run(client, code, fetch_files=wanted)
    assert (actual["run_result"]["stdout"], actual["files"]) == ("True\n", {})


def test_files_that_are_not_served(client):
    for path in ("../a", "/etc/passwd", "/tmp/../a", "a/../../b", ".", ""):
        for fields in ({"files": {path: ""}}, {"fetch_files": [path]}):
            actual = run(client, "print(1)", **fields)
            assert "is not a plain file name" in actual["message"] and actual["status"] == "SandboxError"
    large = run(client, "for a in 'ab': open(a, 'wb').truncate(9 << 20)", fetch_files=["a", "b"])
    assert (large["status"], large["files"]) == ("SandboxError", {}) and "16 MiB" in large["message"]
    for fetched in ("a", [1], {"a": 1}):
        body = {"code": "print(1)", "language": "python", "fetch_files": fetched}
        assert client.post("/run_code", json=body).status_code == 422
    tests = [{"test_id": "1", "mode": "stdin", "input": ""}]
    one = {"program": "print(1)", "language": "python", "tests": tests, "fetch_files": ["a"]}
    refused = client.post("/judge", json={"submissions": [one]})
    assert (refused.status_code, "only /run_code" in refused.json()["detail"]) == (422, True)
    for files in ({"a": "?"}, {"a": 1}, ["a"]):
        body = {"code": "print(1)", "language": "python", "files": files}
        assert client.post("/run_code", json=body).status_code == 422


def test_code_of_blanks(client):
    assert run(client, " ")["status"] == "Success"
    assert run(client, " ", language="cpp")["status"] == "Failed"


def test_many_at_once_in_order(client):
    tests = [{"test_id": "1", "mode": "stdin", "input": "21", "expected_output": "42"}]
    programs = ["print(int(input()) * 2)", "print(0)", "1/0"] * 5
    work = [
        {"program": program, "language": "python3", "tests": tests, "key": str(i)}
        for i, program in enumerate(programs)
    ]
    actual = client.post("/judge", json={"submissions": work}).json()["judgements"]
    assert [judgement["verdict"] for judgement in actual] == ["accepted", "wrong_answer", "runtime_error"] * 5
    assert [judgement["key"] for judgement in actual] == [str(i) for i in range(15)]
    assert actual[0]["judge_version"] == judge_version() and actual[0]["tests"][0]["exit_code"] == 0
    checked = work[0] | {
        "program": "print(41.9)",
        "checker": {"kind": "float", "float_tol": 0.1},
        "limits": {"time_s": 1},
    }
    assert (
        client.post("/judge", json={"submissions": [checked]}).json()["judgements"][0]["verdict"]
        == "accepted"
    )


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("/run_code", {"language": "python"}, "code: a string is required"),
        ("/run_code", {"code": "", "language": "python", "run_timeout": "soon"}, "run_timeout: not 'soon'"),
        ("/run_code", [], "the body must be an object"),
        ("/judge", {}, 'the body must be {"submissions": [...]}'),
        ("/judge", {"submissions": [{"program": ""}]}, "submissions.0.language: Field required"),
        (
            "/judge",
            {"submissions": [{"program": "", "language": "c", "tests": [], "limits": {"time_s": 0}}]},
            "Limits.time_s",
        ),
    ],
)
def test_what_is_wrong_with_a_request(client, path, body, detail):
    answer = client.post(path, json=body)
    assert answer.status_code == 422 and detail in answer.json()["detail"]


def test_only_json_and_only_to_this_machines_names(client):
    """A web page can send plain forms to loopback, or make a name of its own point there."""
    request = '{"code": "", "language": "python"}'
    assert (
        client.post("/run_code", content=request, headers={"content-type": "text/plain"}).status_code == 415
    )
    assert client.post("/run_code", json={}, headers={"host": "evil.example"}).status_code == 400
    assert (
        client.post("/run_code", content="{", headers={"content-type": "application/json"}).status_code == 422
    )
    assert client.get("/v1/ping").text == "pong" and client.get("/health").json()["workers"] == 2


def test_a_token(serve, pool):
    closed = serve(token="s3cret", everywhere=True)
    request = {"code": "print(1)", "language": "python"}
    assert closed.post("/run_code", json=request).status_code == 401
    assert (
        closed.post("/run_code", json=request, headers={"authorization": "Bearer s3cre"}).status_code == 401
    )
    assert (
        closed.post("/run_code", json=request, headers={"authorization": "Bearer s3cret"}).json()["status"]
        == "Success"
    )
    with pytest.raises(ValueError, match="token"):
        application(pool, everywhere=True)
    hosts = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "example.org")
    assert [is_loopback(host) for host in hosts] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


def test_more_requests_than_places_wait(client):
    with httpx.Client(base_url=client.base_url, timeout=60) as other:
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(run(other, "print(1)")["status"]))
            for _ in range(24)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == ["Success"] * 24


@pytest.mark.parametrize("field", ["time_s", "memory_mb"])
def test_the_limits_of_a_checker_are_bounded(client, field):
    checker = {"kind": "testlib", "program": "int main() {}", field: 1_000_000}
    tests = [{"test_id": "1", "mode": "stdin", "input": ""}]
    one = {"program": "print(1)", "language": "python", "tests": tests, "checker": checker}
    answer = client.post("/judge", json={"submissions": [one]})
    assert answer.status_code == 422 and field in answer.json()["detail"], answer.text
