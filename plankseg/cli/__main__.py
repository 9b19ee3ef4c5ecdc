"""`python -m plankseg.cli`."""

from plankseg.cli import main

main()
