"""How sure a share is."""

import math
from statistics import NormalDist

_Z95 = NormalDist().inv_cdf(0.975)


def wilson_interval(points: float, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of the share `points / n`, both ends in [0, 1] (doi 10.1080/01621459.1927.10502953).

    `points` may hold halves, as for ties, which scipy's `binomtest` does not take. The interval is a little wide then: a
    value between 0 and 1 varies less than a coin of the same mean.

    Raises:
        ValueError: `n` is not positive, or `points` is not in 0..n.
    """
    if n <= 0 or not 0 <= points <= n:
        raise ValueError(f"wilson_interval needs 0 <= points <= n and n > 0, got points={points}, n={n}")
    share, spread = points / n, _Z95**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = _Z95 * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)
