"""The judge over HTTP: `application` is the service on a pool of workers.

`routes.py` holds the routes, `requests.py` what a request must look like, and `sandbox_fusion.py` the translation
between SandboxFusion's `/run_code` and submissions.
"""

from sandbox.service.requests import Refused
from sandbox.service.routes import application, is_loopback

__all__ = ["Refused", "application", "is_loopback"]
