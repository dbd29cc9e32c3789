"""The image of the Dockerfile, built and used by a real Docker; compose.yaml is compared with its
specification, and read by `docker compose config` where that is installed.

`SPO_DOCKER_BASE` names another base image, for a machine that cannot fetch the default one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[1]
SANDBOX = [
    "--security-opt",
    "seccomp=unconfined",
    "--cap-add",
    "SYS_ADMIN",
    "--cap-add",
    "NET_ADMIN",
    "--network",
    "host",
]


def docker_runs() -> bool:
    program = shutil.which("docker")
    return bool(program) and subprocess.run([program, "info"], capture_output=True).returncode == 0


def has_compose() -> bool:
    program = shutil.which("docker")
    return (
        bool(program) and subprocess.run([program, "compose", "version"], capture_output=True).returncode == 0
    )


def docker(*words: str, given: str = "") -> str:
    done = subprocess.run(["docker", *words], input=given, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def image():
    if not docker_runs():
        pytest.skip("needs a Docker that runs")
    base = os.environ.get("SPO_DOCKER_BASE")
    options = ("--build-arg", f"BASE={base}") if base else ()
    docker("build", "--network", "host", *options, "-t", "spo-test", ".")
    return "spo-test"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_programs_are_judged_inside_a_container(image):
    report = json.loads(docker("run", "--rm", *SANDBOX, image, "doctor", "--json").splitlines()[-1])
    assert report["sandbox"] is True
    assert dict(report["lines"])["sandbox"].startswith("bwrap-root")
    words = "ingest data/starter --limit 2 && ./run spo label && ./run spo sql @verdicts_by_origin -o csv"
    output = docker("run", "--rm", *SANDBOX, "--entrypoint", "sh", image, "-c", f"./run spo {words}")
    assert "accepted" in output


def test_compose_is_valid_under_the_specification():
    schema = json.loads((ROOT / "tests" / "schemas" / "compose-spec.json").read_text())
    project = yaml.safe_load((ROOT / "compose.yaml").read_text())
    check = jsonschema.Draft7Validator(schema)
    assert [f"{list(fault.path)}: {fault.message}" for fault in check.iter_errors(project)] == []
    project["services"]["worker"]["comand"] = []  # a key that the specification does not have
    assert any("comand" in fault.message for fault in check.iter_errors(project))


@pytest.mark.skipif(not has_compose(), reason="needs the compose plugin of Docker")
def test_docker_compose_reads_it():
    names = ("PREFECT_SECRET", "S3_KEY", "S3_SECRET", "DATABASE_SECRET")
    given = os.environ | dict.fromkeys(names, "secret")
    words = ["docker", "compose", "--file", str(ROOT / "compose.yaml"), "config", "--quiet"]
    assert subprocess.run(words, env=given).returncode == 0
    without = {name: value for name, value in given.items() if name != "S3_KEY"}
    done = subprocess.run(words, env=without, capture_output=True, text=True)
    assert done.returncode != 0 and "S3_KEY" in done.stderr


def test_compose_has_each_service_and_no_secret():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert {"server", "database", "objects", "worker", "explorer"} < services.keys()
    text = json.dumps(services)
    secrets = ("PREFECT_SECRET", "S3_KEY", "S3_SECRET", "DATABASE_SECRET")
    assert all(f"${{{name}:?}}" in text for name in secrets)
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)
