"""How every command of this package tells bad input: one line, and exit status 2."""

import sys
from collections.abc import Callable


def run_command(main: Callable[[], None]) -> None:
    """Runs `main`; what it says of its input is printed in one line; defects keep their traceback."""
    try:
        main()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        sys.exit(2)
