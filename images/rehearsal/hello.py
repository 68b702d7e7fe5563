"""A provisioning script for the stand-in: greets from ``C:\\Golden\\hello.txt``.

``STANDIN_C`` in the environment is the folder that plays the part of drive C:.
"""

import os
import pathlib

greeting = pathlib.Path(os.environ["STANDIN_C"], "Golden", "hello.txt")
greeting.parent.mkdir(parents=True, exist_ok=True)
greeting.write_bytes(b"Hello from the rehearsal.\r\n")
