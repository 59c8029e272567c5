"""Networks: plain nn.Modules that know nothing of config, logger or device."""
