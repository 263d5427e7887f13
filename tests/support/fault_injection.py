"""Raises an exception at a chosen call site of the code under test, when a poisoned item is there.

`CallSites` compiles the sources of some modules once more, with every call wrapped, and swaps the
code of their functions in place: classes, references and the modules themselves stay the same.
"""

import ast
import inspect
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

_HOOK = "__called__"
_DEPTH = 7


class InjectedError(Exception):
    """The exception that is raised."""


class CallSites:
    """Every call site of some modules.

    Args:
        poison: a text that stands in the poisoned item and nowhere else.
        items: the classes of which every instance belongs to an item.
        harmless: those whose instances are never poisoned, whatever they hold.
    """

    def __init__(
        self,
        modules: Collection[ModuleType],
        poison: str,
        *,
        items: tuple[type, ...],
        harmless: tuple[type, ...],
    ) -> None:
        self.modules = modules
        self.names: list[str] = []
        self.reached: set[int] = set()  # with the poisoned item
        self._poison, self._items, self._harmless = poison, items, harmless
        self._site: int | None = None
        self._left = 0.0
        self._spare: Callable[[FrameType | None], bool] = lambda _: False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Swap the code of all functions; they get it back at the end."""
        originals: list[tuple[FunctionType, CodeType]] = []
        for module in self.modules:
            codes = self._compile(module)
            setattr(module, _HOOK, self._call)
            for function in _functions(module):
                originals.append((function, function.__code__))
                function.__code__ = codes[function.__code__.co_qualname]
        try:
            yield
        finally:
            for function, code in originals:
                function.__code__ = code
            for module in self.modules:
                delattr(module, _HOOK)

    def arm(
        self,
        site: int | None,
        times: float = 1,
        spare: Callable[[FrameType | None], bool] = lambda _: False,
    ) -> None:
        """Raise at this site from now on, so many times.

        Args:
            spare: whether, by the frame with the item, it is not to be raised there.
        """
        self._site, self._left, self._spare = site, times, spare

    def _compile(self, module: ModuleType) -> dict[str, CodeType]:
        path = Path(str(module.__file__))
        tree = _Wrap(module.__name__, self.names).visit(ast.parse(path.read_text("utf-8")))
        code = compile(ast.fix_missing_locations(tree), str(path), "exec")
        return {inner.co_qualname: inner for inner in _codes(code)}

    def _call(self, site: int, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if site == self._site or (self._site is None and site not in self.reached):
            poisoned = self._poisoned([args, kwargs], _DEPTH)
            frame: FrameType | None = sys._getframe(1)
            # The nearest frame with an item counts: its callers may hold the whole batch.
            nearest = frame
            while poisoned is None and frame is not None:
                poisoned, nearest = self._poisoned(list(frame.f_locals.values()), _DEPTH), frame
                frame = frame.f_back
            if poisoned:
                self.reached.add(site)
                if site == self._site and self._left > 0 and not self._spare(nearest):
                    self._left -= 1
                    raise InjectedError(self.names[site])
        return function(*args, **kwargs)

    def _poisoned(self, value: object, depth: int) -> bool | None:
        """Whether the poison is in a value; None: the value holds no item at all."""
        if isinstance(value, self._harmless):
            return False
        if isinstance(value, str | bytes):
            poison = self._poison if isinstance(value, str) else self._poison.encode()
            return True if poison in value else None  # type: ignore[operator]
        is_item = isinstance(value, self._items)
        if depth == 0:
            return None
        if isinstance(value, dict):
            value = [*value, *value.values()]
        if is_dataclass(value) and not isinstance(value, type):
            value = [getattr(value, field.name, None) for field in fields(value)]
        inside: list[bool | None] = [False] if is_item else []
        if isinstance(value, list | tuple | set | frozenset | deque):
            inside += [self._poisoned(item, depth - 1) for item in list(value)]
        known = [answer for answer in inside if answer is not None]
        return any(known) if known else None


class _Wrap(ast.NodeTransformer):
    def __init__(self, module: str, names: list[str]) -> None:
        self.module = module
        self.names = names
        self.function = ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        outer, self.function = self.function, node.name
        self.generic_visit(node)
        self.function = outer
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Call(self, node: ast.Call) -> ast.AST:
        text = ast.unparse(node.func)
        self.generic_visit(node)
        if text == "super":
            return node
        self.names.append(f"{self.module}:{node.lineno} {self.function}: {text[:60]}")
        site = ast.Constant(len(self.names) - 1)
        hook = ast.Name(_HOOK, ast.Load())
        return ast.copy_location(ast.Call(hook, [site, node.func, *node.args], node.keywords), node)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """The functions and methods that the module's source defines."""
    found: list[object] = list(vars(module).values())
    for kind in [item for item in found if inspect.isclass(item)]:
        if kind.__module__ == module.__name__:
            found.extend(vars(kind).values())
    for item in found:
        item = getattr(item, "fget", item)
        function = inspect.unwrap(item) if callable(item) else item  # type: ignore[arg-type]
        if (
            isinstance(function, FunctionType)
            and function.__module__ == module.__name__
            and function.__code__.co_filename == module.__file__
        ):
            yield function
