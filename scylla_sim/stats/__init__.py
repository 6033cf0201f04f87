"""Statistics: quantiles, least squares, values with intervals."""
