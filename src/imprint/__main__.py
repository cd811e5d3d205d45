"""`python -m imprint`, and the script `imprint`: the command line of whichever environment Python runs in."""

import sys


def main() -> None:
    """Run the command line. Loading it takes a moment in which it can be interrupted too."""
    try:
        from imprint.cli import app
    except KeyboardInterrupt:
        sys.exit(130)
    app()


if __name__ == "__main__":
    main()
