"""The names of `launch.common.operations`, under which the benchmarks of this folder import them."""

from launch.common.operations import (
    METHODS,
    PEAKS,
    SHAPES,
    Method,
    Rows,
    backward_operations,
    forward_operations,
    step_operations,
    utilisation,
)

__all__ = [
    "METHODS",
    "PEAKS",
    "SHAPES",
    "Method",
    "Rows",
    "backward_operations",
    "forward_operations",
    "step_operations",
    "utilisation",
]
