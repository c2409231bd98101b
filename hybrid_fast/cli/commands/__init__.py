"""One module for each kind of command; `cli.app` lists them."""
