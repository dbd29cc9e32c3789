"""The explorer as a process beside another one.

It reads its settings as one line of JSON from standard input, prints its address without the token, and ends
when its input is closed: however the process ends that started it.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.view.search import end_with_input


@contextmanager
def explorer_beside(location: str, token: str, runs_folder: Path, cache: Path) -> Iterator[str]:
    """The base address of an explorer on a free port, for as long as the context lasts. Raises OSError if it
    does not start.
    """
    command = [sys.executable, "-P", "-c", f"from {__name__} import main; main()"]
    # Ctrl-C is for the run, which may still write; the explorer ends with it.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdin and process.stdout
        settings = {"location": location, "token": token, "runs": str(runs_folder), "cache": str(cache)}
        try:
            process.stdin.write(json.dumps(settings) + "\n")
            process.stdin.flush()
            address = process.stdout.readline().strip()
            if not address:
                raise OSError("the explorer did not start; its message is above")
            yield address
        finally:
            process.kill()  # it only reads


def main() -> None:
    import uvicorn

    from flows.view.app import application

    settings = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_input, args=(sys.stdin.fileno(),), daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        app = application(
            settings["location"],
            settings["token"],
            runs_folder=Path(settings["runs"]),
            port=port,
            cache=Path(settings["cache"]),
        )
        listener.listen()
        print(f"http://127.0.0.1:{port}", flush=True)
        config = uvicorn.Config(app, log_level="warning", server_header=False, access_log=False)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
