"""Healthy, and every visit takes seconds."""

from . import site

app = site("slow")
