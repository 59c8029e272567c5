"""Text from a language model: sampling, stopping, and many prompts at a time over one cache."""
