"""The stand-in for Windows: a medium, drivers and a guest that keep the same contracts."""
