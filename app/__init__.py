"""The example site. Any directory with a WSGI callable can take its place."""
