"""As good as the other one, and another release."""

from . import site

app = site()
