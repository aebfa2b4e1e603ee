"""What the example scripts share: stories, the command line, the loss curve."""
