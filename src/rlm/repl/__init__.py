"""The REPL itself, used in process and shipped as source to sandboxes.

So: standard library only, Python 3.8 or newer, nothing from the rest of rlm.
"""
