"""What every other layer stands on; knows nothing of Windows or of images."""
