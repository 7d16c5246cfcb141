"""The controller's decisions tried on a simulated fleet: seeded, so that every failure can be played again."""
