"""`python -m rlm` is the command `rlm`."""

from rlm.cli import main

main()
