"""What is optimised and measured: LightningModules around a network."""
