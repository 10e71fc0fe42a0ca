"""Held to upstream: variants of public flags, run by the stock trainer and by ours at its limit, compared exactly."""
