"""Instances: running copies of published images, which their owners start, use, stop and remove.

launch ──► create ──► a folder: record, overlay, key, first-boot disc
  │
  └──► supervisor (a process of its own) ──► QEMU, virtiofsd, swtpm ──► SSH answers
"""
