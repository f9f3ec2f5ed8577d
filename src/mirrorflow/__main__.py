"""`python -m mirrorflow` is the program `mirrorflow`."""

from mirrorflow.cli import main

if __name__ == "__main__":
    main()
