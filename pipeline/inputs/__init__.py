"""What goes into an image: artifacts fetched and verified, and what can be read out of them."""
