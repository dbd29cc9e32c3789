"""Commands of `spo`, a module for each group; what they need is imported when they run, so that `spo
--help` answers at once.
"""
