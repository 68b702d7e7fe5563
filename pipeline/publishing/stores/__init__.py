"""Stores: where versions lie for others, and what else hosts share.

``base``       what every store can do; reading and verified download, resumed
``directory``  a folder, which any web server can serve
``web``        the same layout over HTTP, to read from
``oci``        an OCI registry: containerDisk images and artifacts
``opening``    the store that a place names: a folder, ``https://…``, ``oci://…``
``push``       a published version to a store, its catalog last
"""
