"""What runs between the host and a cell's process on Linux: a warm parent, a supervisor for each session, and the walls
around it.

A program of its own, started from these files by whichever interpreter (3.8 or newer) the cells have. Standard library
and ctypes only, and nothing from the rest of rlm.
"""
