"""Idle and low priority, for work that must not delay the stream: warm-ups, pictures, backfills.

Two means, both of Linux; elsewhere nothing changes. A thread's policy SCHED_IDLE (sched(7)) lets
every ordinary thread go first; threads and processes that it starts inherit it. Going back needs
CAP_SYS_NICE, or a limit RLIMIT_NICE that permits the nice value 0. Therefore a warm-up runs in a
thread of its own, which ends: the process's other threads are normal in any case.

Where the kernel groups processes by their terminal session (autogroups), it shares the processor
between these groups first, and a policy counts only inside one. There a process gets a group of its
own, and the group a nice value, which every user may raise and lower. In a container the groups are
cgroups: SCHED_IDLE then yields to the threads of the same container or pod.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

MOST_IDLE_S = 45.0
"""A machine may have no idle time at all: after so many seconds work goes on at normal priority."""

LOWEST_NICE, FOLLOWER_NICE, LOW_NICE, NORMAL_NICE = 19, 10, 5, 0
"""Of an autogroup, or of a process. Low: a third of the processor time of a normal one that
competes with it; a follower has a tenth."""

_LOOK_EVERY_S = 0.25
_AGAIN_S = 0.15  # the kernel takes ten changes of a group's nice value a second

T = TypeVar("T")


def become_idle(*, from_terminal: bool = False) -> None:
    """Give this process idle priority until its end, with what it will start.

    Args:
        from_terminal: somebody may end it by Ctrl-C, so it stays in its terminal session.
    """
    if not from_terminal:
        _lead_own_session()
    make_idle(os.getpid())


def become_follower() -> None:
    """Give this process low priority until its end, with what it will start.

    For work that follows the stream within a second: at idle priority it would get no time at all
    while others use every core.
    """
    _lead_own_session()
    os.nice(max(0, FOLLOWER_NICE - os.nice(0)))
    if _leads_own_session(os.getpid()):
        set_group_nice(os.getpid(), FOLLOWER_NICE)


def make_idle(pid: int) -> None:
    """Give a process of this user idle priority, with what it will start."""
    _set_policies(pid, idle=True)
    if _leads_own_session(pid):
        set_group_nice(pid, LOWEST_NICE)


def run_idle(work: Callable[[], T], *, needed: Callable[[], bool]) -> T:
    """Call `work` in a thread at idle priority; return what it returns, or raise what it raises.

    The thread becomes normal, where this user may do that, as soon as `needed` returns True, or
    after MOST_IDLE_S. If the caller is interrupted meanwhile, `work` is completed first.

    Args:
        needed: whether somebody waits for the result; asked a few times a second.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    is_idle, done = threading.Event(), threading.Event()

    def run() -> None:
        try:
            _set_policy(threading.get_native_id(), idle=True)
            is_idle.set()
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            errors.append(error)
        finally:
            is_idle.set()
            done.set()

    thread = threading.Thread(target=run, name="warm-up")
    _lead_own_session()
    has_group = _leads_own_session(os.getpid()) and set_group_nice(os.getpid(), LOWEST_NICE)
    thread.start()
    try:
        is_idle.wait()  # else it could become so after it was made normal
        deadline = time.monotonic() + MOST_IDLE_S
        while not done.wait(_LOOK_EVERY_S) and not needed() and time.monotonic() < deadline:
            pass
    finally:
        if has_group:
            set_group_nice(os.getpid(), NORMAL_NICE)
        _set_policies(os.getpid(), idle=False)
        thread.join()
    if errors:
        raise errors[0]
    return results[0]


def set_group_nice(pid: int, nice: int) -> bool:
    """Set the nice value of a process's autogroup; return whether the kernel took it.

    For a process that leads its terminal session: others of one session share the group.
    """
    for wait_s in (0.0, _AGAIN_S):
        time.sleep(wait_s)
        try:
            Path(f"/proc/{pid}/autogroup").write_text(str(nice))
        except OSError:
            continue
        return True
    return False


def _lead_own_session() -> None:
    """Let this process lead a terminal session, and so an autogroup; Ctrl-C no longer reaches it.

    Does nothing if it leads a process group: it was started as a leader, or by a shell.
    """
    with contextlib.suppress(PermissionError):
        os.setsid()


def _leads_own_session(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(pid) == pid
    return False


def _set_policies(pid: int, *, idle: bool) -> None:
    """Set the policy of every thread of a process, as far as this user may."""
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        _set_policy(int(thread.name), idle=idle)


def _set_policy(thread: int, *, idle: bool) -> None:
    if not hasattr(os, "SCHED_IDLE"):
        return
    policy = os.SCHED_IDLE if idle else os.SCHED_OTHER
    # It has ended meanwhile, or this user may not make it normal again.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.sched_getscheduler(thread) != policy:
            os.sched_setscheduler(thread, policy, os.sched_param(0))
