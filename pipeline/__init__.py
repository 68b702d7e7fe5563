"""Golden Windows: from a Windows ISO to a verified golden disk image.

The packages, lowest layer first; each imports only from those above it in this list
(``tests/unit/project/test_layers.py`` holds that):

``foundation``   errors, files, processes, waiting, paths, units, locks, progress
``definitions``  images/*.yaml, checksums/*.yaml and the settings, as frozen data
``inputs``       fetched artifacts and what is read out of them (ISO, WIM, drivers)
``answers``      answer file, guest plans, their validation, the cidata disc
``machine``      QEMU and its sidecars: start, watch, stop
``guest``        SSH into a running guest, the guest agent's results
``rehearsal``    the stand-in medium that runs everything without Windows
``publishing``   compression, manifest, signature, catalog, stores, pulling
``instances``    running copies of published images
``stages``       the graph for one image: ids, receipts, what runs and why
``cli``          the ``golden`` command
"""
