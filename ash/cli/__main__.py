"""`python -m ash.cli` is `ash`, for where the script is not on the path."""

from ash.cli import main

main(prog_name="ash")
