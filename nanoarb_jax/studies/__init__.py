"""What trains more than one model in order to judge."""
