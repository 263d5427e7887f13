"""Defines a drawing as a list of shapes in drawing units: x to the right, y down, about -1 to 1.

Owns how outlines are built. Does not depend on pixels, light or backgrounds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lalafo_assets.synthetic.drawing.materials import Material

Point = tuple[float, float]
Colour = tuple[int, int, int]
Fill = Material | Colour


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled polygon (`width` 0) or an open stroke of `width`, in drawing units."""

    points: NDArray[np.float64]  # (N, 2)
    fill: Fill
    width: float = 0.0
    tone: float = 1.0  # factor on the fill's brightness: below 1 darker, above 1 lighter
    casts: bool = True  # whether it is part of the silhouette that casts a shadow


@dataclass(slots=True)
class Sketch:
    """Shapes in painting order, and the good's main material."""

    main: Material
    shapes: list[Shape] = field(default_factory=list)

    def poly(
        self, points: Sequence[Point], fill: Fill, *, tone: float = 1.0, casts: bool = True
    ) -> None:
        """Add a filled polygon."""
        self.shapes.append(Shape(np.asarray(points, np.float64), fill, 0.0, tone, casts))

    def line(
        self,
        points: Sequence[Point],
        fill: Fill,
        width: float,
        *,
        tone: float = 1.0,
        casts: bool = True,
    ) -> None:
        """Add an open stroke with round joints."""
        self.shapes.append(Shape(np.asarray(points, np.float64), fill, width, tone, casts))

    def oval(self, centre: Point, rx: float, ry: float, fill: Fill, *, tone: float = 1.0) -> None:
        self.poly(arc(centre, rx, ry, 0, 360), fill, tone=tone)

    def ring(self, centre: Point, rx: float, ry: float, fill: Fill, width: float) -> None:
        self.line(arc(centre, rx, ry, 0, 370), fill, width)

    def box(
        self,
        corner: Point,
        opposite: Point,
        fill: Fill,
        *,
        radius: float = 0.0,
        tone: float = 1.0,
    ) -> None:
        """Add an axis-aligned rectangle with corners rounded by `radius`."""
        (x0, y0), (x1, y1) = corner, opposite
        points: list[Point] = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        self.poly(rounded(points, radius) if radius > 0 else points, fill, tone=tone)

    def seam(self, points: Sequence[Point], fill: Fill, width: float = 0.012) -> None:
        """Add a thin line, darker than its fill: a seam, a fold or an edge."""
        self.line(points, fill, width, tone=0.68, casts=False)


def arc(
    centre: Point, rx: float, ry: float, start: float, end: float, steps: int = 26
) -> list[Point]:
    """Points on an ellipse from `start` to `end` degrees; 0 is to the right, 90 is down."""
    turn = (end - start) / steps
    return [
        (
            centre[0] + rx * math.cos(math.radians(start + turn * i)),
            centre[1] + ry * math.sin(math.radians(start + turn * i)),
        )
        for i in range(steps + 1)
    ]


def rounded(points: Sequence[Point], radius: float) -> list[Point]:
    """The polygon with every corner replaced by a curve that starts `radius` before it."""
    result: list[Point] = []
    count = len(points)
    for i, (x, y) in enumerate(points):
        ends: list[Point] = []
        for px, py in (points[i - 1], points[(i + 1) % count]):
            length = math.hypot(px - x, py - y)
            part = min(0.5, radius / length) if length > 0 else 0.0
            ends.append((x + (px - x) * part, y + (py - y) * part))
        (ax, ay), (bx, by) = ends
        for t in (0.0, 0.25, 0.5, 0.75, 1.0):
            s = 1.0 - t
            result.append(
                (s * s * ax + 2 * s * t * x + t * t * bx, s * s * ay + 2 * s * t * y + t * t * by)
            )
    return result


def soft(points: Sequence[Point], rounds: int = 2) -> list[Point]:
    """The closed polygon with its corners cut (Chaikin, 1974) `rounds` times: a smooth outline."""
    current = list(points)
    for _ in range(rounds):
        cut: list[Point] = []
        for i, (x, y) in enumerate(current):
            nx, ny = current[(i + 1) % len(current)]
            cut.append((0.75 * x + 0.25 * nx, 0.75 * y + 0.25 * ny))
            cut.append((0.25 * x + 0.75 * nx, 0.25 * y + 0.75 * ny))
        current = cut
    return current


def mirrored(right: Sequence[Point]) -> list[Point]:
    """A symmetric closed outline, from its right half given from top to bottom."""
    return [*right, *((-x, y) for x, y in reversed(right))]


def reflected(points: Sequence[Point]) -> list[Point]:
    """The points reflected across the vertical axis."""
    return [(-x, y) for x, y in points]


def moved(points: Sequence[Point], dx: float, dy: float) -> list[Point]:
    return [(x + dx, y + dy) for x, y in points]


def turned(points: Sequence[Point], degrees: float, about: Point = (0.0, 0.0)) -> list[Point]:
    """The points rotated clockwise, as seen in the picture, about a point."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [
        (
            about[0] + (x - about[0]) * c - (y - about[1]) * s,
            about[1] + (x - about[0]) * s + (y - about[1]) * c,
        )
        for x, y in points
    ]


def placed(
    part: Sketch, *, scale: float, dx: float, dy: float, degrees: float = 0.0
) -> list[Shape]:
    """The shapes of one sketch for use in another: rotated, scaled, then moved."""
    c, s = math.cos(math.radians(degrees)) * scale, math.sin(math.radians(degrees)) * scale
    matrix = np.array([[c, s], [-s, c]])
    return [
        Shape(
            shape.points @ matrix + np.array([dx, dy]),
            shape.fill,
            shape.width * scale,
            shape.tone,
            shape.casts,
        )
        for shape in part.shapes
    ]
