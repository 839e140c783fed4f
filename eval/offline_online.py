"""What offline estimates are worth: past predictions against what the experiments found.

Both sides have errors, so ordinary regression would find too small a slope and blame the offline estimate
for its noise. What is left beyond the stated errors is scatter: what the offline estimate cannot know.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from eval.clustered import LEVEL, Estimate, t_quantile
from reranker.columns import FloatArray

FEWEST = 8  # past experiments
_GRID = np.linspace(-np.pi / 2, np.pi / 2, 2_001)[1:-1]  # directions of a line
_STEPS = 200


@dataclass(frozen=True, eq=False)
class Past:
    """Experiments that were predicted offline before they ran; all of one metric, and all that ran.

    Attributes:
        offline, offline_error: (m,) predicted effects and standard errors.
        online, online_error: (m,) effects found and standard errors.

    Raises:
        ValueError: fewer than 8, lengths that differ, values that are not finite, or errors not above 0.
    """

    offline: FloatArray
    offline_error: FloatArray
    online: FloatArray
    online_error: FloatArray

    def __post_init__(self) -> None:
        columns = {
            "offline": self.offline,
            "offline_error": self.offline_error,
            "online": self.online,
            "online_error": self.online_error,
        }
        m = len(self.offline)
        for name, column in columns.items():
            if column.shape != (m,) or not np.isfinite(column).all():
                raise ValueError(f"{name}: expected {m} finite numbers, got {column.tolist()}")
            if name.endswith("error") and not (column > 0).all():
                raise ValueError(f"{name}: expected numbers above 0, got {column.min()}")
        if m < FEWEST:
            raise ValueError(f"experiments: expected at least {FEWEST} in the past, got {m}")


@dataclass(frozen=True)
class Share:
    """How often something held, with Wilson's interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Line:
    """online = intercept + slope x offline, with errors on both sides.

    Attributes:
        slope, intercept: estimates.
        slope_error, intercept_error, covariance: of both.
        misfit: sum of the squared residuals in units of their errors; m - 2 where the errors explain them.
    """

    slope: float
    intercept: float
    slope_error: float
    intercept_error: float
    covariance: float
    misfit: float


@dataclass(frozen=True)
class Calibration:
    """The record of the offline estimate.

    Attributes:
        slope: 1 where a predicted effect comes out as large as predicted; its interval may have no end.
        intercept: 0 where nothing comes out that was not predicted.
        scatter: standard deviation of the true effects around the line, beyond all stated errors.
        sign_agreement: of predictions and findings, where either could be told from 0; None where never.
        coverage: of the findings by the intervals of the predictions, both errors taken together.
        slope_is_known: whether the slope's interval has both ends and excludes 0; otherwise past effects are
            too small for their errors to tell anything.
        level: of the intervals.
        n: experiments.
    """

    slope: Estimate
    intercept: Estimate
    scatter: float
    sign_agreement: Share | None
    coverage: Share
    slope_is_known: bool
    level: float
    n: int
    _line: Line

    def predict(self, offline: float, offline_error: float, *, online_error: float = 0.0) -> Estimate:
        """What the next experiment will find, with its prediction interval.

        Args:
            offline: predicted effect.
            offline_error: its standard error.
            online_error: standard error the experiment will have; 0 for the true effect.
        """
        line = self._line
        variance = line.intercept_error**2 + 2 * offline * line.covariance
        variance += (offline**2 + offline_error**2) * line.slope_error**2
        variance += (line.slope * offline_error) ** 2 + self.scatter**2 + online_error**2
        error, df = float(np.sqrt(variance)), float(self.n - 2)
        value, half = line.intercept + line.slope * offline, t_quantile(self.level, df) * error
        return Estimate(value, error, value - half, value + half, self.level, self.n, self.n, df)


def calibrate(past: Past, *, level: float = LEVEL) -> Calibration:
    """How past predictions compare with past findings.

    The scatter is what makes the misfit as large as its degrees of freedom (0 where errors explain it all);
    it counts as an error of the findings. The slope's interval is the set of slopes that the misfit does not
    rule out, so it has no end where past effects are not larger than their errors. Valid if the errors of
    an experiment's two sides are independent, as those of a log from before are, and if experiments were
    not chosen by either side: launches of winners alone make the offline estimate look worse than it is.

    Args:
        past: the experiments.
        level: of the intervals.

    Source: York, Evensen, Lopez Martinez and De Basabe Delgado, Unified equations for the slope, intercept,
    and standard errors of the best straight line, 2004; Paule and Mandel, Consensus values and weighting
    factors, 1982 (scatter).
    """
    scatter = _scatter(past)
    noise = np.hypot(past.online_error, scatter)
    line = best_line(past.offline, past.offline_error, past.online, noise)
    df = float(len(past.offline) - 2)
    t = t_quantile(level, df)
    low, high = _slope_set(past, noise, line.misfit + t**2)
    bounded = bool(np.isfinite(low) and np.isfinite(high))
    sizes = len(past.offline), len(past.offline)
    slope = Estimate(line.slope, line.slope_error, low, high, level, *sizes, df, is_fieller=True)
    half = t * line.intercept_error
    ends = line.intercept - half, line.intercept + half
    intercept = Estimate(line.intercept, line.intercept_error, *ends, level, *sizes, df)
    both = np.hypot(past.offline_error, past.online_error)
    z = t_quantile(level, np.inf)
    told = (np.abs(past.offline) > z * past.offline_error) | (np.abs(past.online) > z * past.online_error)
    agree = np.sign(past.offline[told]) == np.sign(past.online[told])
    inside = np.abs(past.online - past.offline) <= z * both
    return Calibration(
        slope=slope,
        intercept=intercept,
        scatter=scatter,
        sign_agreement=_share(int(agree.sum()), len(agree), level) if len(agree) else None,
        coverage=_share(int(inside.sum()), len(inside), level),
        slope_is_known=bounded and not low <= 0 <= high,
        level=level,
        n=len(past.offline),
        _line=line,
    )


def best_line(x: FloatArray, x_error: FloatArray, y: FloatArray, y_error: FloatArray) -> Line:
    """The line through points with known, independent errors on both sides.

    Args:
        x: (m,) at least 3.
        x_error: (m,) above 0.
        y: (m,).
        y_error: (m,) above 0.

    Raises:
        ValueError: no line fits better than a vertical one.

    Source: York and others, 2004, equations 13.
    """
    angle = _GRID[int(np.argmin(_misfit(_GRID, (x, x_error, y, y_error))))]
    step = _GRID[1] - _GRID[0]
    found = optimize.minimize_scalar(
        lambda a: float(_misfit(np.array([a]), (x, x_error, y, y_error))[0]),
        bounds=(max(angle - step, -np.pi / 2 + 1e-9), min(angle + step, np.pi / 2 - 1e-9)),
        method="bounded",
        options={"xatol": 1e-14},
    )
    slope = float(np.tan(found.x))
    if abs(found.x) > np.pi / 2 - 1e-6:
        raise ValueError("online: expected effects that a line of the offline ones fits, got a vertical one")
    weight = 1.0 / (y_error**2 + (slope * x_error) ** 2)
    middle = weight @ x / weight.sum(), weight @ y / weight.sum()
    moved = weight * ((x - middle[0]) * y_error**2 + slope * (y - middle[1]) * x_error**2)
    adjusted = middle[0] + moved  # the points on the line that are nearest in units of the errors
    centre = weight @ adjusted / weight.sum()
    variance = 1.0 / float(weight @ (adjusted - centre) ** 2)
    intercept = float(middle[1] - slope * middle[0])
    spread = float(1.0 / weight.sum() + centre**2 * variance)
    return Line(slope, intercept, variance**0.5, spread**0.5, -float(centre) * variance, float(found.fun))


def _misfit(angle: FloatArray, points: tuple[FloatArray, ...]) -> FloatArray:
    """(a,) smallest misfit of lines in each direction, the best intercept put in."""
    x, x_error, y, y_error = points
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    weight = 1.0 / ((cosine * y_error) ** 2 + (sine * x_error) ** 2)
    across = cosine * y - sine * x  # (a, m)
    centre = (weight * across).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
    return np.asarray((weight * (across - centre) ** 2).sum(axis=1), dtype=np.float64)


def _scatter(past: Past) -> float:
    """The standard deviation that, added to the errors of the findings, makes the misfit m - 2."""
    df = len(past.offline) - 2

    def excess(scatter: float) -> float:
        noise = np.hypot(past.online_error, scatter)
        return float(_misfit(_GRID, (past.offline, past.offline_error, past.online, noise)).min()) - df

    if excess(0.0) <= 0:
        return 0.0
    high = float(np.abs(past.online).max() + past.online_error.max())
    for _ in range(_STEPS):
        if excess(high) < 0:
            return float(optimize.brentq(excess, 0.0, high, xtol=1e-12 * high))
        high *= 2.0
    return high


def _slope_set(past: Past, noise: FloatArray, limit: float) -> tuple[float, float]:
    """The slopes whose misfit is below a limit; -inf and inf where even a vertical line is."""
    points = past.offline, past.offline_error, past.online, noise
    fine = np.linspace(-np.pi / 2, np.pi / 2, 20_001)
    kept = _misfit(fine, points) <= limit
    if kept[0] or kept[-1]:
        return -np.inf, np.inf
    ends = np.flatnonzero(kept)
    return float(np.tan(fine[ends[0]])), float(np.tan(fine[ends[-1]]))


def _share(k: int, n: int, level: float) -> Share:
    """Wilson, Probable inference, the law of succession, and statistical inference, 1927."""
    z = float(special.ndtri((1 + level) / 2))
    middle, half = (k + z**2 / 2) / (n + z**2), z * np.sqrt(k * (n - k) / n + z**2 / 4) / (n + z**2)
    return Share(k / n, float(middle - half), float(middle + half), n)
