"""Commands of `spo`, one module per command or group. They import what they need when they run, so that
`spo --help` starts fast.
"""
