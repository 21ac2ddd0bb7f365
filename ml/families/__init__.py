"""Model families behind one seam: `spec` and each `config` describe (no torch), `base` and each `model` train."""
