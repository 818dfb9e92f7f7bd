"""How studies come in: STOW-RS and C-STORE, one intake, one rule of identity."""
