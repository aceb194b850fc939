"""Passing on to the cluster, byte for byte, what is not the service's own."""
