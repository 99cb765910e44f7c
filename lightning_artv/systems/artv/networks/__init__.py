"""ART•V's own networks: reference adapter, anchor attention, the conditioned U-Net."""
