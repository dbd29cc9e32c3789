"""What one client of the judge may send, and for how long it may take over it. Larger values are refused
with 422 or 413.
"""

from __future__ import annotations

from sandbox.bounds import MIB

MAX_BODY_BYTES = 64 * MIB
MAX_BODIES_BYTES = 256 * MIB  # of all requests that are being read or served
MAX_SUBMISSIONS = 2000  # per request
MAX_TESTS = 20_000  # per request, of all its submissions
MAX_KEPT_BYTES = 64 * MIB  # of standard output and error that a request may ask to have back
MAX_TIME_S, MAX_WALL_S = 600.0, 3600.0  # per test
MAX_MEMORY_MB = 16_384
MAX_OUTPUT_BYTES = 64 * MIB
MAX_PROCESSES = 512
MAX_FILES_BYTES = 16 * MIB  # beside a program

HEADER_S = 10.0  # for the head of a request to arrive, from the connection's or the last answer's on
BODY_S = 60.0  # for its body
CHUNK_S = 10.0  # between two parts of it
ANSWER_S = 60.0  # for the client to take a part of the answer
MAX_HEADER_BYTES = 16 * 1024
MAX_CONNECTIONS = 1000  # beyond that, those that have been slowest to ask are closed
GRACE_S = 1.0  # for a program whose client has gone, before it is ended
