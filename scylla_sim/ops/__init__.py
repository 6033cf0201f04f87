"""FLOPs and bytes of operations and of forward passes. Nothing here depends on a device."""
