"""Managed databases as clusters of real machines: one node serves, the others stand by for its data volume."""
