"""How flows run: Prefect's settings, its server, and the rules of a run.

`settings` is imported first: it puts Prefect's settings into the environment. `engine` connects this process
to a server. The server is a process of this project (`server`) behind a gate (`gate`), with a secret
(`secret`), one per data folder (`record`), which commands find or start (`starting`). Modules that import
Prefect are imported by their own name: `rules` (retries, locks, limits), `spreading` (task runners), `events`
(thresholds); so is `interrupts`, for commands.
"""

from typing import TYPE_CHECKING

from flows.runtime.settings import DATA, DEFAULTS, HEARTBEATS
from pipeline.later import exports

if TYPE_CHECKING:
    from flows.runtime.engine import client_secret, report_to, use_server
    from flows.runtime.record import ServerError
else:
    # Commands without flows need no server.
    __getattr__ = exports(__name__, {"engine": "client_secret report_to use_server", "record": "ServerError"})

__all__ = ["DATA", "DEFAULTS", "HEARTBEATS", "ServerError", "client_secret", "report_to", "use_server"]
