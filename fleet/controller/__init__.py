"""The loop on the autoscaler node that keeps a fleet at strength: observe, decide, act."""
