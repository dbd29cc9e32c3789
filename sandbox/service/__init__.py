"""The judge over HTTP: `application` is the service on a pool of workers.

`application.py` holds the routes, `requests.py` what a request must look like, and `sandbox_fusion.py` the translation
between SandboxFusion's `/run_code` and submissions.
"""

from sandbox.service.application import application, is_loopback
from sandbox.service.requests import Refused

__all__ = ["Refused", "application", "is_loopback"]
