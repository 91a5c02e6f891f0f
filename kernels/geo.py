"""Distances on the Earth.

The haversine form of the great-circle distance keeps its precision where points are close to each
other, which the textbook arc cosine does not: R. W. Sinnott, "Virtues of the Haversine", Sky and
Telescope 68 (2), 1984, p. 159.  The arc is taken by the two-argument arc tangent, so that a
haversine rounded to just above 1 cannot leave the domain of an arc sine.
"""

from __future__ import annotations

import math

from numba import njit

__all__ = ["EARTH_RADIUS_MILES", "great_circle_miles"]

EARTH_RADIUS_MILES = 6_371.008_8 / 1.609_344
"""Mean radius of the Earth (IUGG, 6371.0088 km) in statute miles of 1.609344 km."""


@njit(cache=True)
def great_circle_miles(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Return the great-circle distance between two points of a spherical Earth.

    Parameters
    ----------
    lat1, lon1, lat2, lon2 : float
        Latitudes in [-90, 90] and longitudes in degrees.  Longitudes that differ by whole turns
        are the same place.

    Returns
    -------
    float
        Distance in statute miles; NaN when any argument is NaN.

    Notes
    -----
    A sphere is up to 0.5 % away from the true ellipsoid.  The rounding error is some 1e-12 miles
    for close points and grows to about 1e-4 miles for points on opposite sides of the Earth.
    """
    phi1 = math.radians(lat1)
    phi2 = math.radians(lat2)
    half_chord_lat = math.sin((phi2 - phi1) / 2)
    half_chord_lon = math.sin(math.radians(lon2 - lon1) / 2)
    haversine = half_chord_lat**2 + math.cos(phi1) * math.cos(phi2) * half_chord_lon**2
    # Rounding may lift the haversine of opposite points above 1; the clamp keeps the root real.
    rest = max(0.0, 1.0 - haversine)
    return 2.0 * EARTH_RADIUS_MILES * math.atan2(math.sqrt(haversine), math.sqrt(rest))
