"""Judges a change before it is merged: what it would do to each stack, as a comment for those who review it."""
