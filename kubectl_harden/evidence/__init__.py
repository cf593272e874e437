"""What is known of how an app runs: a file per source."""
