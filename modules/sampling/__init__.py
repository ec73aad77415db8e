"""Sampling parameters: the PARAMS table, one parameter, the values in use, presets."""
