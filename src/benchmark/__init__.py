"""Speed and accuracy side by side with the plain alternatives."""
