"""How several processes train one network: Lightning strategies made from plain values, chosen in conf/strategy."""
