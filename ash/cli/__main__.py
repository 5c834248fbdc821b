"""`python -m ash.cli` runs `ash` where its script is not on the path."""

from ash.cli import main

main(prog_name="ash")
