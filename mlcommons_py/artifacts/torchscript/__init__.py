"""TorchScript archives (``.pt``), read without PyTorch and without running anything in them."""
