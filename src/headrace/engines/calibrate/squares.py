"""
Least squares without negative coefficients, for a handful of unknowns. Pure arithmetic.

A negative time means that the measurement cannot tell the term from others: such a term is left
out, the worst first, and the rest is solved again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# So much of a column is left when those before it are taken off: less is rounding.
INDEPENDENT = 1e-9

Matrix = list[list[float]]
Rows = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Solution:
    """Coefficients, and the standard error of each; infinite where it could not be told."""

    values: tuple[float, ...]
    errors: tuple[float, ...]


def solve(rows: Rows, targets: Sequence[float]) -> Solution:
    """
    The coefficients, none below zero, for which ``rows @ values`` is nearest to ``targets``.

    A column of zeros gets 0, and so does one that depends on those before it.
    """
    width = len(rows[0])
    kept = _independent(rows, width)
    inverse: Matrix = []
    values: list[float] = []
    while kept:
        inverse = _inverted(_products(rows, kept))
        ends = [sum(row[c] * t for row, t in zip(rows, targets, strict=True)) for c in kept]
        values = [_dot(line, ends) for line in inverse]
        least = min(range(len(kept)), key=values.__getitem__)
        if values[least] >= 0:
            break
        del kept[least]
    full, errors = [0.0] * width, [math.inf] * width
    for column, value in zip(kept, values, strict=False):
        full[column] = value
    spare = len(rows) - len(kept)
    if spare > 0:
        residuals = (t - _dot(row, full) for row, t in zip(rows, targets, strict=True))
        variance = sum(residual**2 for residual in residuals) / spare
        for place, column in enumerate(kept):
            errors[column] = math.sqrt(variance * inverse[place][place])
    return Solution(tuple(full), tuple(errors))


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(left, right, strict=True))


def _products(rows: Rows, columns: Sequence[int]) -> Matrix:
    return [[sum(row[a] * row[b] for row in rows) for b in columns] for a in columns]


def _independent(rows: Rows, width: int) -> list[int]:
    """The columns that are no sum of columns before them (Gram-Schmidt)."""
    kept: list[int] = []
    basis: Matrix = []
    for column in range(width):
        rest = [row[column] for row in rows]
        size = math.sqrt(_dot(rest, rest))
        for vector in basis:
            share = _dot(rest, vector)
            rest = [x - share * y for x, y in zip(rest, vector, strict=True)]
        left = math.sqrt(_dot(rest, rest))
        if size and left > INDEPENDENT * size:
            kept.append(column)
            basis.append([x / left for x in rest])
    return kept


def _inverted(matrix: Matrix) -> Matrix:
    """Gauss-Jordan with columns scaled to 1, for terms of 1e-7 stand beside terms of 10."""
    size = len(matrix)
    scale = [1 / math.sqrt(matrix[i][i]) for i in range(size)]
    work = [
        [matrix[i][j] * scale[i] * scale[j] for j in range(size)]
        + [float(i == j) for j in range(size)]
        for i in range(size)
    ]
    for i in range(size):
        best = max(range(i, size), key=lambda row: abs(work[row][i]))
        work[i], work[best] = work[best], work[i]
        pivot = work[i][i]
        work[i] = [x / pivot for x in work[i]]
        for j in range(size):
            if j != i and work[j][i]:
                factor = work[j][i]
                work[j] = [x - factor * y for x, y in zip(work[j], work[i], strict=True)]
    return [[work[i][size + j] * scale[i] * scale[j] for j in range(size)] for i in range(size)]
