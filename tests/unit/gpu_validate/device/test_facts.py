"""Names of devices."""

from __future__ import annotations

import pytest

from gpu_validate.device.facts import catalog_name
from scylla_sim.specs import catalog


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "local"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "local"),
        ("NVIDIA H200", "h200-sxm"),
        ("NVIDIA H800", "h800-sxm"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm"),
        ("NVIDIA A100-SXM4-40GB", "a100-sxm-40gb"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie"),
        ("NVIDIA A100-PCIE-40GB", "local"),
        ("NVIDIA B200", "b200-sxm"),
        ("NVIDIA GB200", "gb200"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L40", "local"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "local"),
        ("NVIDIA GeForce RTX 3090 Ti", "local"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000"),
        ("AMD Instinct MI300X", "mi300x"),
    ],
)
def test_product_names_map_to_the_catalog_or_to_local(product: str, name: str) -> None:
    assert catalog_name(product) == name
    assert name == "local" or name in catalog.names("hardware")
