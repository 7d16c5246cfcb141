"""The site as it should be."""

from . import site

app = site()
