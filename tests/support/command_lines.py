"""The command line of a process that may have ended."""

import psutil


def command_line(process: psutil.Process) -> str:
    """Return the command line, or an empty string for a process that has ended (also a zombie)."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
