"""Moving shapes whose truth is known, and what is measured of them."""
