"""From a sealed disk to something people can download, verify and run."""
