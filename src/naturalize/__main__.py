"""``python -m naturalize``: the same as the ``naturalize`` command."""

from naturalize.cli import main

if __name__ == "__main__":
    main()
