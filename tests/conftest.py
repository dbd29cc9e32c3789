"""What tests of several rooms need; and shapes of tensors are checked wherever tests call typed functions."""

import subprocess
import sys

import pytest
from jaxtyping import install_import_hook

# Before any of these modules is imported: their annotations of shapes are then checked at every call.
install_import_hook(
    ["trainer.objectives", "trainer.policies.logprobs", "trainer.policies.batching"], "beartype.beartype"
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadfile` the tests of a file run in one process, and those of all files of tests/flows in
    the same one, so that one Prefect server is started.
    """
    from xdist.scheduler import LoadFileScheduling

    class FlowsTogether(LoadFileScheduling):
        def _split_scope(self, nodeid):
            scope = super()._split_scope(nodeid)
            return "tests/flows" if scope.startswith("tests/flows/") else scope

    return FlowsTogether(config, log) if config.getoption("dist") == "loadfile" else None


SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("port", server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def object_storage():
    """Options of a store in `s3://bucket/...`: somebody else's S3 server (moto) on the loopback, in a
    process of its own.
    """
    pytest.importorskip("moto.server", reason="needs moto, from the extra dev")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        port = next(line.split()[1] for line in server.stdout if line.startswith("port "))
        options = {
            "aws_endpoint_url": f"http://127.0.0.1:{port}",
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
            "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }
        create_bucket(options["aws_endpoint_url"], "bucket")
        yield options
    finally:
        server.kill()
        server.wait()


def create_bucket(endpoint, name):
    import boto3

    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket=name)
