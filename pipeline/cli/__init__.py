"""The ``golden`` command."""
