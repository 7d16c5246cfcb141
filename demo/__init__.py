"""`make demo`: the whole story on the local cloud, told on a screen."""
