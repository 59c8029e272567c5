"""Parameter groups; the optimizers themselves are torch.optim, chosen in conf/optimizer."""
