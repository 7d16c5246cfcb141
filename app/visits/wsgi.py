"""The site as gunicorn finds it: `visits.wsgi:app`."""

from . import create_app

app = create_app()
