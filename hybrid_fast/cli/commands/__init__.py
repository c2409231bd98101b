"""The commands, by subject; `cli.app` registers them."""
