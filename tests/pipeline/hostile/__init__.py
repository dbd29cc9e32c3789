"""Sources that a stranger could send, each with what must come of it. `tests/pipeline/hostile_sources.py`
tries them.
"""
