"""Thin modules that keep the reference library's documented import paths."""
