# Piecewise linear and piecewise constant functions smoothed by a kernel.
