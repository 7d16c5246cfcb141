"""Cannot be imported, as after a merge that nobody ran."""

raise RuntimeError("this release cannot start")
