"""``python -m restoration_toolchain``: the command line."""

from restoration_toolchain.toolchain.cli import main

if __name__ == "__main__":
    main()
