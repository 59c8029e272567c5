"""Keys and values that a decoder has already computed, kept so that each new token costs one step."""
