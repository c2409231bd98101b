"""What a transformer computes on a CPU in place of torch's own: dropout, attention, products."""
