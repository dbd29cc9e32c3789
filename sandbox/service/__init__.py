"""The judge over HTTP: `application` is the service on a pool of workers, `server_config` what uvicorn serves
it with.

`routes.py` holds the routes, `guard.py` who is let in, `requests.py` what a request must look like,
`bounds.py` how much of everything one may ask for, `turns.py` who is next, `server.py` the connections, and
`sandbox_fusion.py` the translation between SandboxFusion's `/run_code` and submissions.
"""

from sandbox.service.guard import Refused, checked_token
from sandbox.service.routes import application, is_loopback
from sandbox.service.server import server_config

__all__ = ["Refused", "application", "checked_token", "is_loopback", "server_config"]
