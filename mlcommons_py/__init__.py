"""OpenSearch ML Commons' REST API as a service beside the cluster."""

__version__ = "0.1.0"
