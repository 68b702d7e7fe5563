"""Images, pins and settings: YAML files in, frozen checked data out."""
