"""One self-contained page per run, made from the files of its folder alone."""
