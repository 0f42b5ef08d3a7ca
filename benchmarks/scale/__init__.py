"""Scale: what one control service costs and how late its loops are when it steers many models on many nodes."""
