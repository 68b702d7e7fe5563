"""Virtual machines: how one is started, watched and stopped, with everything that belongs to it."""
