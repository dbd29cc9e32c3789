"""Pages of the explorer: each function reads what it needs through a `Visit`, and gives the name of a
template with its variables, or a response.
"""
