"""Networks, one file per architecture; files that begin with an underscore are parts of them."""
