"""Healthy, and every visit is a 500."""

from . import site

app = site("500")
