"""What the tools that combine runs share."""
