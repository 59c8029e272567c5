"""From a command line to a built run: composing, explaining errors, instantiating."""
