"""What every room of the package needs and none owns."""
