"""How flows run: Prefect's settings, its server, and the rules of a run.

`engine` comes first: it puts Prefect's settings into the environment, and connects this process to a server.
The server is a process of ours (`server`) behind a gate (`gate`), with a secret (`secret`), one per data
folder (`record`), which commands find or start (`starting`). Modules that import Prefect are imported by
file: `rules` (retries, turns, limits), `spreading` (task runners), `events` (thresholds); so is `interrupts`,
for commands.
"""

from flows.runtime.engine import DATA, DEFAULTS, HEARTBEATS, client_secret, report_to, use_server
from flows.runtime.record import ServerError

__all__ = ["DATA", "DEFAULTS", "HEARTBEATS", "ServerError", "client_secret", "report_to", "use_server"]
