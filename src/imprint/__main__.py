"""`python -m imprint`: the command line of whichever environment Python runs in."""

from imprint.cli import app

app()
