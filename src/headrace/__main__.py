"""The start of the program: ``headrace`` and ``python -m headrace``. The commands are cli's."""

from headrace.cli.app import app


def main() -> None:
    """Run the command line; ends with SystemExit."""
    app(prog_name="headrace")


if __name__ == "__main__":
    main()
