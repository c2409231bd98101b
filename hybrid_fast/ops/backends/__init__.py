"""The fast ways to compute the loss, one for each kind of device; `registry` names them."""
