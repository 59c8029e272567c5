"""The commands of the run index: they read run folders, and know neither torch nor Hydra."""
