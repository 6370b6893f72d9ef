"""The policies, one small file per system."""
