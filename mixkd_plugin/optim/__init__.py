"""fairseq's registry of optimizers gets torch's fused AdamW."""
