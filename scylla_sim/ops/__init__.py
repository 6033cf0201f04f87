"""FLOPs and bytes of operations and of forward passes, independent of any device."""
