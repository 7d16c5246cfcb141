"""What a machine becomes: cloud-config for its first boot, and the files that make an image of its role."""
