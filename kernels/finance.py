"""European options by the closed formula of Black and Scholes.

F. Black and M. Scholes, "The Pricing of Options and Corporate Liabilities", Journal of Political
Economy 81 (3), 1973, pp. 637-654.  Interest and volatility are constants of the module, as they are
in the benchmarks that use this formula; a kernel of your own takes them as columns.
"""

from __future__ import annotations

import math

from numba import njit

__all__ = ["INTEREST_RATE", "VOLATILITY", "black_scholes", "black_scholes_call"]

INTEREST_RATE = 0.02
"""Risk-free interest a year, continuously compounded."""

VOLATILITY = 0.30
"""Standard deviation of the yearly logarithmic return."""

_SQRT_HALF = math.sqrt(0.5)


@njit(cache=True)
def _normal_cdf(x: float) -> float:
    """Return the probability that a standard normal variable is below `x`."""
    # The complementary error function keeps its relative precision far in the left tail, where
    # 1 + erf(x) has cancelled to nothing.
    return 0.5 * math.erfc(-x * _SQRT_HALF)


@njit(cache=True)
def black_scholes(spot: float, strike: float, years: float) -> tuple[float, float]:
    """Price a European call and a European put on a share that pays no dividend.

    Parameters
    ----------
    spot, strike : float
        Price of the share now and in the contract, both above 0.
    years : float
        Time to expiry.  At or below 0 the options are worth what exercising them now yields.

    Returns
    -------
    tuple of float
        ``(call, put)``; both NaN when an argument is NaN.
    """
    if years <= 0.0:
        gain = spot - strike
        # Written as sums so that a NaN price comes out as NaN, which max() would hide.
        return (gain + abs(gain)) / 2, (abs(gain) - gain) / 2
    spread = VOLATILITY * math.sqrt(years)
    d1 = (math.log(spot / strike) + (INTEREST_RATE + VOLATILITY**2 / 2) * years) / spread
    d2 = d1 - spread
    discounted = strike * math.exp(-INTEREST_RATE * years)
    # The put has its own formula: by parity it would be a difference of nearly equal numbers.
    call = spot * _normal_cdf(d1) - discounted * _normal_cdf(d2)
    put = discounted * _normal_cdf(-d2) - spot * _normal_cdf(-d1)
    return call, put


@njit(cache=True)
def black_scholes_call(spot: float, strike: float, years: float) -> float:
    """Price a European call on a share that pays no dividend.

    Parameters
    ----------
    spot, strike : float
        Price of the share now and in the contract, both above 0.
    years : float
        Time to expiry.  At or below 0 the option is worth what exercising it now yields.

    Returns
    -------
    float
        Price of the call; NaN when an argument is NaN.
    """
    # The compiler inlines the pair and drops the half that is not used.
    return black_scholes(spot, strike, years)[0]
