"""What kopf calls: one file for each kind that it watches, each a few lines that only enqueue."""
