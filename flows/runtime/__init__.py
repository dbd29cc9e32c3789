"""How flows run: Prefect's settings and server, locks and limits, task runners, events, interrupts."""
