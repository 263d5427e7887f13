"""The switches of every command: `--verbose` and `--no-color`.

They work before the command's name and after it: `lalafo -v train` and `lalafo train -v`.
"""

import os

from lalafo_assets.commands.terminal.logs import configure_logs

_verbosity = 0


def set_verbosity(verbose: int) -> None:
    """Show log records on standard error: 1 from INFO on, 2 from DEBUG on. 0 changes nothing."""
    global _verbosity
    if verbose > 0:
        _verbosity += verbose
        configure_logs(_verbosity)


def set_color(no_color: bool) -> None:
    """Print without colours from here on, if True: consoles read the environment when made."""
    if no_color:
        os.environ["NO_COLOR"] = "1"
    if os.environ.get("NO_COLOR", "") != "":  # it wins; rich would still print bold text
        os.environ.pop("FORCE_COLOR", None)
