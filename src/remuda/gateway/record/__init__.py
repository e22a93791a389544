"""What happened: one record per request, one per attempt; counters and the access log."""
