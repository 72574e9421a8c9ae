"""``python -m socrates``: see :mod:`socrates.cli`."""

from socrates.cli.__main__ import main

if __name__ == "__main__":
    main()
